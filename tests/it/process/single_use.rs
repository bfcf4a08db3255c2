//! `kill -9` between two uses of what may be used once.
//!
//! A code, a refresh token and a device code are used, the server is killed before or after it has said so, and on the next start
//! they are used again. What was said holds; and whatever was said, there is one set of tokens at most.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::load::Walk;
use super::program::{Home, Program};
use crate::browser::{Browser, Site as _};
use crate::http::{Answer, Connection, Credentials, Request};
use crate::person::{
    LOGIN_PAGE, SUBJECT, code, device_code, log_in, poll, redemption, refreshing, register_with_devices, tokens,
};

const ROUNDS: u64 = 9;
/// How many use the same at once.
const AT_ONCE: usize = 8;

const ARGUMENTS: [&str; 2] = ["--login-url", LOGIN_PAGE];

/// A client, and somebody who lets it in.
struct Visit {
    app: Credentials,
    browser: Browser,
}

/// What may be used once, each with the form that uses it.
struct Uses {
    code: Use,
    refresh: Use,
    device: Use,
}

struct Use {
    request: Request,
    /// What was answered so far.
    told: Vec<Answer>,
    /// Others asked too, of whom nobody knows what they were answered.
    is_raced: bool,
}

impl Visit {
    fn begin(program: &Program) -> Self {
        let app = register_with_devices(program, "app");
        Self { browser: log_in(program, "app"), app }
    }

    fn request(&self, form: &[(&str, &str)]) -> Request {
        Request::post("/oauth2/token").basic(&self.app).form(form)
    }

    fn code(&mut self, program: &Program) -> Use {
        let code = code(program, &mut self.browser, "app");
        Use::new(self.request(&redemption(&code, &[])))
    }

    fn refresh(&mut self, program: &Program) -> Use {
        let (_, token) = tokens(&program.ask(&self.code(program).request));
        Use::new(self.request(&refreshing(&token)))
    }

    fn device(&mut self, program: &Program) -> Use {
        let device_code = device_code(program, &mut self.browser, &self.app);
        Use::new(self.request(&poll(&device_code)))
    }

    fn uses(&mut self, program: &Program) -> Uses {
        Uses { code: self.code(program), refresh: self.refresh(program), device: self.device(program) }
    }

    /// Whether a refresh token of that answer refreshes.
    fn refreshes(&self, program: &Program, answer: &Answer) -> bool {
        program.ask(&self.request(&refreshing(&tokens(answer).1))).status == 200
    }
}

impl Use {
    const fn new(request: Request) -> Self {
        Self { request, told: Vec::new(), is_raced: false }
    }

    fn good(&self) -> Vec<&Answer> {
        self.told.iter().filter(|answer| answer.status == 200).collect()
    }

    /// Asks once more. Answers whether it got tokens; if not, the grant is invalid.
    #[track_caller]
    fn again(&mut self, program: &Program) -> bool {
        self.hear(program.ask(&self.request));
        self.told.last().is_some_and(|answer| answer.status == 200)
    }

    #[track_caller]
    fn hear(&mut self, answer: Answer) {
        assert!(answer.status == 200 || answer.error() == (400, "invalid_grant".to_owned()), "{answer:?}");
        self.told.push(answer);
    }
}

/// A code that comes again is refused, and what it gave is revoked.
#[track_caller]
fn check_code(visit: &Visit, program: &Program, mut code: Use) {
    let was_refused = code.told.iter().any(|answer| answer.status != 200);
    for answer in code.good() {
        let is_active = program.is_active(&tokens(answer).0);
        assert!(is_active || was_refused || code.is_raced, "an acknowledged token is gone");
        assert!(!is_active || !was_refused, "whoever was refused has revoked it");
    }
    let was_used = !code.told.is_empty();
    assert!(!code.again(program) || !was_used, "the code was used before the server was killed");
    assert!(!code.again(program), "the code was used");
    assert!(code.good().len() <= 1, "{:?}", code.told);
    for answer in code.good() {
        assert!(!program.is_active(&tokens(answer).0), "the code was used again");
        assert!(!visit.refreshes(program, answer));
    }
}

/// A refresh token that comes again inside its window gives the same successor, and once that was used it ends the grant.
#[track_caller]
fn check_refresh(visit: &Visit, program: &Program, mut refresh: Use) {
    assert!(refresh.again(program) && refresh.again(program), "the window begins anew with the server");
    let told: Vec<_> = refresh.told.iter().map(tokens).collect();
    assert!(told.iter().all(|answer| *answer == told[0]), "there is one successor: {:?}", refresh.told);
    assert!(program.is_active(&told[0].0) && visit.refreshes(program, &refresh.told[0]));
    assert!(!refresh.again(program), "its successor was used");
    assert!(!program.is_active(&told[0].0), "it was stolen");
}

/// A device code that comes again is refused, and what it gave stays.
#[track_caller]
fn check_device(visit: &Visit, program: &Program, mut device: Use) {
    let was_used = !device.told.is_empty();
    assert!(!device.again(program) || !was_used, "the device code was used before the server was killed");
    assert!(!device.again(program), "the device code was used");
    assert!(device.good().len() <= 1, "{:?}", device.told);
    for answer in device.good() {
        assert!(program.is_active(&tokens(answer).0) && visit.refreshes(program, answer));
    }
}

/// How many grants of the person are in force.
fn grants(program: &Program) -> usize {
    let list = program.ask_as_admin(&Request::get(&format!("/admin/v1/grants?sub={SUBJECT}"))).json();
    list["grants"].as_array().unwrap_or_else(|| panic!("{list}")).len()
}

/// Lets many use each at once, and kills the server at some moment after `answers` of them were answered.
fn race(program: Program, uses: &mut Uses, answers: usize, walk: &mut Walk) {
    let uses = [&mut uses.code, &mut uses.refresh, &mut uses.device];
    let mut callers: Vec<(Connection, usize)> =
        (0..AT_ONCE * uses.len()).map(|number| (program.connect(), number % uses.len())).collect();
    for (connection, number) in &mut callers {
        connection.send(&uses[*number].request.to_bytes());
    }
    let told = callers.iter_mut().take(answers).map(|(connection, number)| (connection.answer(), *number));
    let mut told: Vec<_> = told.collect();
    if answers < callers.len() {
        thread::sleep(Duration::from_micros(walk.below(1500) as u64));
    }
    program.kill();
    // What was on its way is told too.
    told.extend(callers.iter_mut().skip(answers).map(|(connection, number)| (connection.answer(), *number)));
    for (answer, number) in told {
        uses[number].is_raced = true;
        if let Some(answer) = answer {
            uses[number].hear(answer);
        }
    }
}

#[test]
fn whenever_the_server_is_killed_among_many_uses_at_most_one_counts() {
    let (home, mut walk) = (Home::new(), Walk::new(ROUNDS));
    let mut program = home.start(&ARGUMENTS);
    let mut visit = Visit::begin(&program);
    for round in 0..ROUNDS {
        let mut uses = visit.uses(&program);
        let answers = match round % 3 {
            0 => 0,
            1 => 1 + walk.below(AT_ONCE),
            _ => AT_ONCE * 3,
        };
        race(program, &mut uses, answers, &mut walk);
        program = home.start(&ARGUMENTS);
        check_code(&visit, &program, uses.code);
        check_refresh(&visit, &program, uses.refresh);
        check_device(&visit, &program, uses.device);
        assert_eq!(grants(&program), usize::try_from(round).unwrap() + 1, "one of each device, and no other");
    }
}

#[test]
fn what_one_client_was_told_before_the_server_was_killed_holds() {
    let home = Home::new();
    let program = home.start(&ARGUMENTS);
    let mut visit = Visit::begin(&program);
    let mut uses = visit.uses(&program);
    for once in [&mut uses.code, &mut uses.refresh, &mut uses.device] {
        assert!(once.again(&program));
    }
    program.kill();
    let program = home.start(&ARGUMENTS);
    check_code(&visit, &program, uses.code);
    check_refresh(&visit, &program, uses.refresh);
    check_device(&visit, &program, uses.device);
}

/// Sends a request, and lets the server be killed in the moment when it is to answer: what it did is durable by then.
fn kill_on_answer(program: Program, request: &Request) {
    let mut connection = program.connect();
    let mut command = Command::new("strace");
    command.args(["-f", "-o", "/dev/null", "-p", &program.pid().to_string(), "-e"]);
    // Only sockets are sent to by these.
    command.args(["trace=sendto,sendmsg,writev", "-e", "inject=sendto,sendmsg,writev:signal=KILL"]);
    let mut strace = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(strace.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.contains("attached"), "{line}");
    connection.send(&request.to_bytes());
    assert_eq!(connection.answer(), None, "it was killed before");
    program.kill();
    strace.wait().unwrap();
}

#[test]
fn what_was_used_when_the_server_was_killed_before_it_could_say_so_stays_used() {
    let home = Home::new();
    let program = home.start(&ARGUMENTS);
    let mut visit = Visit::begin(&program);
    let mut uses = visit.uses(&program);
    kill_on_answer(program, &uses.code.request);
    let program = home.start(&ARGUMENTS);
    assert!(!uses.code.again(&program), "somebody has used the code");
    check_code(&visit, &program, uses.code);

    kill_on_answer(program, &uses.refresh.request);
    let program = home.start(&ARGUMENTS);
    check_refresh(&visit, &program, uses.refresh);

    kill_on_answer(program, &uses.device.request);
    let program = home.start(&ARGUMENTS);
    assert!(!uses.device.again(&program), "somebody has used the device code");
    check_device(&visit, &program, uses.device);
}
