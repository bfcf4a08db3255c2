-- wrk … -s post.lua URL -- LINES AUTHORIZATION BODY ORDER FIRST COUNT
--
-- Posts the form BODY with the header AUTHORIZATION; `@` in either stands for a line of the file LINES. Lines FIRST+1 to
-- FIRST+COUNT are used, in ORDER `random`, or `once`, each once. Every request is made before the clock starts, and the
-- collector is off: a request costs one look into a table.

local requests = {}
local at = 0
local order
ran_out = false

-- The request around a line of `length` bytes: its pieces before, between and after the places of the line.
local function pieces_around(length, authorization, body)
  local mark = string.rep("\1", length)
  local text = wrk.format("POST", wrk.path, {
    ["Authorization"] = (authorization:gsub("@", mark)),
    ["Content-Type"] = "application/x-www-form-urlencoded",
  }, (body:gsub("@", mark)))
  local pieces, from = {}, 1
  local first, last = text:find(mark, from, true)
  while first do
    pieces[#pieces + 1] = text:sub(from, first - 1)
    from = last + 1
    first, last = text:find(mark, from, true)
  end
  pieces[#pieces + 1] = text:sub(from)
  return pieces
end

function init(args)
  local path, authorization, body = args[1], args[2], args[3]
  order = args[4]
  local first, last = tonumber(args[5]), tonumber(args[5]) + tonumber(args[6])
  local pieces, number = {}, 0
  for line in io.lines(path) do
    number = number + 1
    if number > last then
      break
    end
    if number > first then
      pieces[#line] = pieces[#line] or pieces_around(#line, authorization, body)
      requests[#requests + 1] = table.concat(pieces[#line], line)
    end
  end
  assert(#requests > 0, "no such lines in " .. path)
  math.randomseed(first + 1)
  collectgarbage()
  collectgarbage("stop")
end

function request()
  if order == "random" then
    return requests[math.random(#requests)]
  end
  at = at + 1
  if at > #requests then
    at = 1
    ran_out = true
    wrk.thread:stop()
  end
  return requests[at]
end

dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "report.lua")
