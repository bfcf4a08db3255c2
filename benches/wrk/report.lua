-- For every script here: remembers the thread, and prints what wrk measured as one line of JSON. Latencies in µs.

local worker

function setup(thread)
  worker = thread
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"bytes":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"statuses":%d,"sockets":%d,"ran_out":%s}\n',
    summary.requests, summary.bytes, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    tostring(worker:get("ran_out") == true)))
end
