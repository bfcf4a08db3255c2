#!/usr/bin/env python3
"""Measures what a request costs the server, beside a bare actix-web server that is measured in the same run.

    cargo build --release --bin tessera --example floor --example fill
    benches/heart.py                                            the table of requests
    benches/heart.py --no-rows --memory 10000000                bytes per live token
    benches/heart.py --no-rows --restart                        kill -9, time to ready
    benches/heart.py --no-rows --memory 10000000 --memory-durability sync --restart

The server runs on one core, wrk and fill on another: HTTP/1.1 keep-alive, 32 connections, no pipelining. Cost is user and
system time of the whole server process over the requests that wrk completed; it holds when the load generator is the
limit and when the machine is noisy. Rows are measured in interleaved rounds; the figures are medians over the rounds.

Exit status: 0 every budget holds, 1 a budget fails, 2 something could not be measured.
"""

import argparse
import base64
import contextlib
import http.client
import json
import os
import platform
import random
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path

HIT_BUDGET = 1.3  # × floor, CPU per request
ISSUE_BUDGET = 2.5  # × the floor of issue, CPU per request
KINDS_BUDGET = 1.2  # dearest of hit, garbage, expired ÷ cheapest
TOKEN_BYTES_BUDGET = 96  # peak RSS ÷ live tokens

CONNECTIONS = 32
ISSUE_BODY = "grant_type=client_credentials&scope=read"
# Requests that fail, of those completed, above which a round says nothing.
ERRORS_MAX = 0.001
# How far the mean size of a round's answers may be from the size of the answer that the row is about.
ANSWER_BYTES_TOLERANCE = 0.03


def main():
    options = parse_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    report = Report(options)
    status = 2
    try:
        with tempfile.TemporaryDirectory(prefix="tessera-heart-", dir=options.directory) as directory:
            with contextlib.ExitStack() as stack:
                run_phases(Place(options, Path(directory), stack), options, report)
        status = 0 if all(budget["holds"] for budget in report.budgets) else 1
    except NotMeasured as error:
        report.trouble = str(error)
        print(f"NOT MEASURED  {error}", file=sys.stderr)
    except KeyboardInterrupt:
        report.trouble = "interrupted"
        print("interrupted", file=sys.stderr)
    report.print()
    if options.json:
        options.json.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    sys.exit(status)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    release = Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "release"
    parser.add_argument("--server", type=Path, default=release / "tessera")
    parser.add_argument("--floor", type=Path, default=release / "examples" / "floor")
    parser.add_argument("--fill", type=Path, default=release / "examples" / "fill")
    parser.add_argument("--json", type=Path, help="write every figure of every round to this file")
    parser.add_argument("--directory", type=Path, help="where the temporary directory goes: a real disk (default: TMPDIR)")
    parser.add_argument("--rows", action=argparse.BooleanOptionalAction, default=True, help="measure the requests")
    parser.add_argument("--memory", type=int, metavar="TOKENS", help="measure memory with so many tokens")
    parser.add_argument("--memory-durability", choices=["memory", "sync"], default="memory")
    parser.add_argument("--restart", action="store_true", help="measure recovery after kill -9")
    parser.add_argument("--tokens", type=int, default=1_000_000, help="live tokens (default: 1000000)")
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--sample", type=int, default=1_000_000, help="tokens that one round asks about (default: 1000000)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="length of one row of one round")
    parser.add_argument("--revoke-rate", type=int, default=40_000, help="tokens made ahead for a second of revoking")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--load-core", type=int, default=1)
    parser.add_argument("--fill-timeout", type=int, default=1800, metavar="SECONDS")
    parser.add_argument("--ready-timeout", type=int, default=300, metavar="SECONDS")
    options = parser.parse_args()
    phases = options.rows or options.memory or options.restart
    if not phases:
        parser.error("nothing to measure")
    programs = ([options.server, options.fill] if phases else []) + ([options.floor] if options.rows else [])
    for program in programs:
        if not os.access(program, os.X_OK):
            parser.error(f"{program} is not there: cargo build --release --bin tessera --example floor --example fill")
    return options


def run_phases(place, options, report):
    if options.rows:
        measure_rows(place, options, report)
    if options.memory:
        filled = measure_memory(place, options, report)
        if options.restart and options.memory_durability == "sync":
            measure_restart(place, filled, options, report)
            return
        filled.server.end()
    if options.restart:
        measure_restart(place, fill_for_restart(place, options), options, report)


class NotMeasured(Exception):
    """The reason why there is no figure."""


class Place:
    """A directory, the programs started in it, and the admin that they are started with."""

    def __init__(self, options, directory, stack):
        self.options = options
        self.directory = directory
        self.stack = stack
        self.admin = f"heart:{secrets.token_hex(24)}"

    def start_server(self, durability, data="data", port=None):
        port = port or free_port()
        options = self.options
        command = [options.server, "serve", "--listen", f"127.0.0.1:{port}", "--data-dir", self.directory / data]
        command += ["--workers", options.workers, "--shards", options.shards, "--durability", durability]
        server = self.start(f"server-{data}", port, command)
        server.data, server.durability = data, durability
        return server

    def start_floor(self, name, body_bytes):
        port = free_port()
        command = [self.options.floor, "--listen", f"127.0.0.1:{port}", "--workers", 1, "--body-bytes", body_bytes]
        return self.start(name, port, command)

    def start(self, name, port, command):
        environment = os.environ | {"TESSERA_BOOTSTRAP_CLIENT": self.admin}
        log = self.directory / f"{name}.log"
        with log.open("ab") as out:
            pinned = ["taskset", "-c", self.options.server_core, *command]
            child = subprocess.Popen(
                [str(word) for word in pinned], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment
            )
        server = Server(name, child, port, log)
        self.stack.callback(server.end)
        server.wait_until_ready(self.options.ready_timeout)
        return server

    def fill(self, server, command, *arguments, depth=16):
        """Runs fill against the server; returns what it printed."""
        connections = 32 if server.durability == "memory" else 256
        words = [self.options.fill, command, "--server", f"127.0.0.1:{server.port}", "--connections", connections]
        words += ["--depth", depth, "--timeout-seconds", self.options.fill_timeout, *arguments]
        say(f"fill {command} …")
        return json.loads(self.run_on_load_core(words, self.options.fill_timeout + 30, server))

    def issue(self, server, name, tokens, clients, lifetime=86_400, sample=None):
        """Issues tokens to new clients; returns the files of tokens and clients, and what fill printed."""
        tokens_path, clients_path = self.directory / f"{name}-tokens", self.directory / f"{name}-clients"
        arguments = ["--admin", self.admin, "--tokens", tokens, "--clients", clients, "--lifetime-seconds", lifetime]
        arguments += ["--tokens-out", tokens_path, "--clients-out", clients_path]
        arguments += ["--sample", sample] if sample else []
        return tokens_path, clients_path, self.fill(server, "issue", *arguments)

    def revoke(self, server, tokens_path, clients_path):
        self.fill(server, "revoke", "--client", only_line(clients_path), "--tokens-in", tokens_path)

    def expect_active(self, server, tokens_path, share, what):
        """Checks that all (share 1) or none (share 0) of a file's tokens are active; returns how many were asked about."""
        answer = self.fill(server, "check", "--client", self.admin, "--tokens-in", tokens_path)
        if answer["active"] != answer["count"] * share:
            raise NotMeasured(f"{answer['active']} of {answer['count']} {what} tokens are active")
        return answer["count"]

    def run_on_load_core(self, words, timeout, server):
        command = [str(word) for word in ["taskset", "-c", self.options.load_core, *words]]
        try:
            run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            raise NotMeasured(f"{words[0]} ran for more than {timeout} s") from None
        if run.returncode != 0:
            raise NotMeasured(f"{words[0]} ended with {run.returncode}: {run.stdout}{run.stderr}{server.last_words()}")
        return run.stdout


class Server:
    """A server process: the one measured, or a floor."""

    def __init__(self, name, child, port, log):
        self.name, self.child, self.port, self.log = name, child, port, log

    def wait_until_ready(self, timeout):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.child.poll() is not None:
                raise NotMeasured(f"{self.name} ended with {self.child.returncode}{self.last_words()}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.request("GET", "/readyz").status == 200:
                    return
            time.sleep(0.005)
        raise NotMeasured(f"{self.name} was not ready after {timeout} s{self.last_words()}")

    def request(self, method, path, body=None, authorization=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        headers |= {"Authorization": authorization} if authorization else {}
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Answer.of(response)

    def post(self, path, authorization, body):
        answer = self.request("POST", path, body, authorization)
        if answer.status != 200:
            raise NotMeasured(f"{path} answers {answer.status}: {answer.body.decode(errors='replace')}")
        if answer.closes:
            raise NotMeasured(f"{self.name} closes the connection after an answer to {path}")
        return answer

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self):
        """Bytes: VmHWM, VmRSS, RssAnon."""
        lines = Path(f"/proc/{self.child.pid}/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return {name: int(fields[name].split()[0]) * 1024 for name in ("VmHWM", "VmRSS", "RssAnon")}

    def end(self):
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self):
        self.child.kill()
        self.child.wait(20)

    def last_words(self):
        words = self.log.read_text(errors="replace").splitlines()[-15:]
        return "".join(f"\n  {self.name}: {line}" for line in words)


@dataclass
class Answer:
    status: int
    body: bytes
    # Bytes on the wire, the head included.
    size: int
    # The server will not take another request on this connection.
    closes: bool

    @staticmethod
    def of(response):
        body = response.read()
        lines = [f"HTTP/1.1 {response.status} {response.reason}", *map(": ".join, response.getheaders()), ""]
        return Answer(response.status, body, sum(len(line) + 2 for line in lines) + len(body), response.will_close)


@dataclass
class Row:
    """Requests that are measured together. In `authorization` and `body`, `@` stands for a line of the file `lines`."""

    name: str
    server: Server
    path: str
    lines: Path
    authorization: str
    body: str
    # The size of the right answer on the wire.
    answer_bytes: int
    # Name of the row that it is compared to.
    floor: str
    order: str = "random"
    rounds: list = field(default_factory=list)

    def median(self, figure):
        return statistics.median(each[figure] for each in self.rounds) if self.rounds else float("nan")

    def spread(self, figure):
        values = [each[figure] for each in self.rounds]
        return (max(values) - min(values)) / self.median(figure) if values else float("nan")


def measure_rows(place, options, report):
    server = place.start_server("sync")
    admin = authorization_of(place.admin)
    live, clients, filled = place.issue(server, "live", options.tokens, options.clients)
    report.note(f"{options.tokens} tokens of {options.clients} clients issued at {filled['per_second']:.0f}/s, durability sync")
    pool = min(200_000, options.tokens)
    expired, _, _ = place.issue(server, "expired", pool, 1, lifetime=1)
    revoked, revoker, _ = place.issue(server, "revoked", pool, 1)
    place.revoke(server, revoked, revoker)
    time.sleep(2)
    place.expect_active(server, expired, 0, "expired")
    place.expect_active(server, revoked, 0, "revoked")
    shuffle(live)
    garbage = write_lines(place.directory / "garbage", map(garbled, read_lines(live)[:pool]))
    issuers = write_lines(place.directory / "issuers", map(authorization_of, read_lines(clients)))

    def introspection(name, lines, active):
        path, token = "/oauth2/introspect", read_lines(lines)[0]
        answer = server.post(path, admin, f"token={token}")
        if json.loads(answer.body)["active"] is not active:
            raise NotMeasured(f"a token of the row {name} is answered with {answer.body.decode()}")
        return Row(name, server, path, lines, admin, "token=@", answer.size, "floor"), answer

    hit, hit_answer = introspection("introspect hit", live, True)
    others = [introspection(f"introspect {name}", lines, False)[0]
              for name, lines in [("garbage", garbage), ("expired", expired), ("revoked", revoked)]]
    issue_answer = server.post("/oauth2/token", read_lines(issuers)[0], ISSUE_BODY)
    issue = Row("issue, sync", server, "/oauth2/token", issuers, "@", ISSUE_BODY, issue_answer.size, "floor of issue")
    revoke = Row("revoke, sync", server, "/oauth2/revoke", None, None, "token=@", None, "floor", order="once")
    floor = floor_of(place, "floor", hit, hit_answer)
    issue_floor = floor_of(place, "floor of issue", issue, issue_answer)

    report.rows = [floor, hit, *others, issue_floor, issue, revoke]
    for number in range(options.rounds):
        for row in report.rows:
            if row is revoke:
                prepare_revocation(place, server, revoke, options, number)
            row.rounds.append(measure(place, row, options, number))
            say(f"round {number + 1} of {options.rounds}: {row.name} {row.rounds[-1]['cpu_us']:.2f} µs")
    server.end()
    judge_rows(report)


def floor_of(place, name, row, answer):
    """The row that sends the same requests to a bare server, whose body is as long as that answer's."""
    floor = place.start_floor(name.replace(" ", "-"), len(answer.body))
    size = floor.post(row.path, row.authorization, row.body).size
    return Row(name, floor, row.path, row.lines, row.authorization, row.body, size, name)


def prepare_revocation(place, server, row, options, number):
    """A pool of fresh tokens: a token is revoked once."""
    tokens = options.revoke_rate * options.seconds + 1
    row.lines, client, _ = place.issue(server, f"revoke-{number}", tokens, 1)
    row.authorization = authorization_of(only_line(client))
    # The answer's size is learnt from the last token of the pool, which the round seldom comes to.
    last = read_lines(row.lines)[-1]
    row.answer_bytes = server.post(row.path, row.authorization, f"token={last}").size


def measure(place, row, options, number):
    """One round of a row."""
    lines = count_lines(row.lines)
    count = lines if row.order == "once" else min(options.sample, lines)
    first = number * count % (lines - lines % count)
    words = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{options.seconds}s", "-s", Path(__file__).parent / "wrk" / "post.lua"]
    words += [f"http://127.0.0.1:{row.server.port}{row.path}", "--"]
    words += [row.lines, row.authorization, row.body, row.order, 0 if row.order == "once" else first, count]
    before = row.server.cpu_seconds()
    out = place.run_on_load_core(words, options.seconds + 60, row.server)
    cpu = row.server.cpu_seconds() - before
    wrk = json.loads(out.strip().splitlines()[-1])
    check_round(row, wrk)
    requests = wrk["requests"]
    figures = {"cpu_us": cpu * 1e6 / requests, "per_second": requests * 1e6 / wrk["duration_us"]}
    return wrk | figures | {"cpu_seconds": cpu, "cpu_share": cpu * 1e6 / wrk["duration_us"]}


def check_round(row, wrk):
    requests, failed = wrk["requests"], wrk["statuses"] + wrk["sockets"]
    if requests == 0 or failed > requests * ERRORS_MAX:
        raise NotMeasured(f"{row.name}: {failed} of {requests} requests failed{row.server.last_words()}")
    mean = wrk["bytes"] / requests
    if abs(mean / row.answer_bytes - 1) > ANSWER_BYTES_TOLERANCE:
        raise NotMeasured(f"{row.name}: answers have {mean:.0f} bytes, not {row.answer_bytes}: another answer than hoped for")


def judge_rows(report):
    cost = {row.name: row.median("cpu_us") for row in report.rows}
    kinds = [cost[f"introspect {kind}"] for kind in ("hit", "garbage", "expired")]
    report.judge("introspect hit ÷ floor, CPU", cost["introspect hit"] / cost["floor"], HIT_BUDGET)
    report.judge("issue, sync ÷ floor of issue, CPU", cost["issue, sync"] / cost["floor of issue"], ISSUE_BUDGET)
    report.judge("dearest ÷ cheapest of hit, garbage, expired", max(kinds) / min(kinds), KINDS_BUDGET)


@dataclass
class Filled:
    """A running server, and what is in it."""

    server: Server
    tokens: int
    sample: Path


def measure_memory(place, options, report):
    server = place.start_server(options.memory_durability, data="memory")
    time.sleep(1)
    before = server.memory()
    tokens, clients = options.memory, options.clients
    sample, _, filled = place.issue(server, "memory", tokens, clients, sample=min(tokens, 100_000))
    after = server.memory()
    place.expect_active(server, sample, 1, "sampled")
    growth = after["VmRSS"] - before["VmRSS"]
    report.memory = {
        "tokens": tokens, "clients": clients, "durability": options.memory_durability, "before": before, "after": after,
        "issued_per_second": filled["per_second"], "peak_bytes_per_token": after["VmHWM"] / tokens,
        "growth_bytes_per_token": growth / tokens,
    }
    report.judge("peak RSS ÷ live tokens, bytes", after["VmHWM"] / tokens, TOKEN_BYTES_BUDGET)
    return Filled(server, tokens, sample)


def fill_for_restart(place, options):
    server = place.start_server("sync", data="restart")
    sample, _, _ = place.issue(server, "restart", options.tokens, options.clients, sample=min(options.tokens, 100_000))
    return Filled(server, options.tokens, sample)


def measure_restart(place, filled, options, report):
    """Ends with every acknowledged change checked in a sample: issued tokens are active, revoked ones are not."""
    server = filled.server
    revoked, revoker, _ = place.issue(server, "restart-revoked", 1000, 1)
    place.revoke(server, revoked, revoker)
    journal_bytes = sum(path.stat().st_size for path in (place.directory / server.data).rglob("*") if path.is_file())
    server.kill()
    say("killed; starting again …")
    start = time.monotonic()
    again = place.start_server("sync", data=server.data)
    seconds = time.monotonic() - start
    checked = place.expect_active(again, filled.sample, 1, "sampled (after a restart)")
    checked += place.expect_active(again, revoked, 0, "revoked (after a restart)")
    report.restart = {
        "tokens": filled.tokens, "data_bytes": journal_bytes, "ready_seconds": seconds,
        "ms_per_million_tokens": seconds * 1000 / (filled.tokens / 1e6), "tokens_checked": checked,
        "memory": again.memory(),
    }
    again.end()


class Report:
    """What was measured, for people and for programs."""

    def __init__(self, options):
        self.options = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
        self.machine = machine()
        self.started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.notes, self.rows, self.budgets = [], [], []
        self.memory = self.restart = self.trouble = None

    def note(self, text):
        self.notes.append(text)

    def judge(self, name, value, budget):
        self.budgets.append({"name": name, "value": value, "budget": budget, "holds": value <= budget})

    def print(self):
        print(f"\n{self.machine['cpu']}, {self.machine['cores']} cores, Linux {self.machine['kernel']}, {self.started}, "
              f"load {self.machine['load']} at the start")
        for note in self.notes:
            print(note)
        self.print_rows()
        self.print_memory()
        self.print_restart()
        for budget in self.budgets:
            mark = "ok  " if budget["holds"] else "FAIL"
            print(f"{mark}  {budget['name']}: {budget['value']:.2f}, budget {budget['budget']}")
        if self.trouble:
            print(f"NOT MEASURED  {self.trouble.splitlines()[0]}")

    def print_rows(self):
        if not any(row.rounds for row in self.rows):
            return
        rounds, seconds = self.options["rounds"], self.options["seconds"]
        print(f"medians of {rounds} rounds of {seconds} s; spread is (highest − lowest) ÷ median of CPU per request\n")
        print(f"{'':20} {'CPU/request':>12} {'÷ floor':>8} {'spread':>7} {'requests/s':>11} {'core busy':>9} {'p50':>9} {'p99':>9}")
        cost = {row.name: row.median("cpu_us") for row in self.rows}
        for row in self.rows:
            ran_out = "  pool ran out: raise --revoke-rate" if any(each["ran_out"] for each in row.rounds) else ""
            print(f"{row.name:20} {cost[row.name]:9.2f} µs {cost[row.name] / cost[row.floor]:8.3f} "
                  f"{row.spread('cpu_us'):7.1%} {row.median('per_second'):11.0f} {row.median('cpu_share'):9.0%} "
                  f"{row.median('p50_us') / 1000:6.2f} ms {row.median('p99_us') / 1000:6.2f} ms{ran_out}")
        print()

    def print_memory(self):
        if self.memory:
            memory, mib = self.memory, 1 << 20
            print(f"memory: {memory['tokens']} tokens of {memory['clients']} clients, durability {memory['durability']}, "
                  f"issued at {memory['issued_per_second']:.0f}/s\n"
                  f"  RSS {memory['before']['VmRSS'] / mib:.1f} MiB before, {memory['after']['VmRSS'] / mib:.1f} MiB after, "
                  f"peak {memory['after']['VmHWM'] / mib:.1f} MiB\n"
                  f"  {memory['peak_bytes_per_token']:.1f} bytes of peak RSS per token, "
                  f"{memory['growth_bytes_per_token']:.1f} bytes of growth per token")

    def print_restart(self):
        if self.restart:
            restart = self.restart
            print(f"restart: kill -9 with {restart['tokens']} tokens, {restart['data_bytes'] / (1 << 20):.0f} MiB of data "
                  f"(in the page cache): ready after {restart['ready_seconds'] * 1000:.0f} ms, "
                  f"{restart['ms_per_million_tokens']:.0f} ms per million tokens; {restart['tokens_checked']} tokens checked")

    def as_json(self):
        rows = [{"name": row.name, "floor": row.floor, "cpu_us": row.median("cpu_us"), "spread": row.spread("cpu_us"),
                 "rounds": row.rounds} for row in self.rows if row.rounds]
        return {"started": self.started, "machine": self.machine, "options": self.options, "notes": self.notes,
                "rows": rows, "memory": self.memory, "restart": self.restart, "budgets": self.budgets,
                "trouble": self.trouble}


def machine():
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith("model name")]
    return {"cpu": names[0] if names else platform.machine(), "cores": os.cpu_count(), "kernel": platform.release(),
            "load": round(os.getloadavg()[0], 2)}


def authorization_of(client):
    """The value of `Authorization` for id:secret (RFC 6749 §2.3.1)."""
    encoded = ":".join(urllib.parse.quote_plus(part) for part in client.split(":", 1))
    return "Basic " + base64.b64encode(encoded.encode()).decode()


def garbled(token):
    """A token of the same shape that nobody issued: the body backwards, but for its last character."""
    prefix, body = token[:7], token[7:]
    return prefix + body[-2::-1] + body[-1]


def shuffle(path):
    lines = read_lines(path)
    random.Random(1).shuffle(lines)
    write_lines(path, lines)


def read_lines(path):
    return path.read_text().splitlines()


def count_lines(path):
    with path.open("rb") as file:
        return sum(1 for _ in file)


def only_line(path):
    return path.read_text().strip()


def write_lines(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
