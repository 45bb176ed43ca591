//! Which host names the API answers to; see [`cellgate_process::host`].

use axum::{
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use cellgate_process::host::HostRefusal;

use super::{
    app::App,
    problem::Problem,
    serve::{Caller, Way},
};

/// Whoever only asks whether the daemon lives may call it anything.
const FOR_ANY_HOST: [&str; 2] = ["/livez", "/readyz"];

pub(super) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    match refusal(&app, &request) {
        None => next.run(request).await,
        Some(refusal) => answer(&refusal).into_response(),
    }
}

fn refusal(app: &App, request: &Request) -> Option<HostRefusal> {
    if FOR_ANY_HOST.contains(&request.uri().path()) {
        return None;
    }
    let headers = request.headers().get_all(header::HOST);
    let headers = headers.iter().map(|value| value.as_bytes());
    let target = request.uri().authority().map(|target| target.as_str());
    let refusal = app.config.api.hosts.check(headers, target).err()?;
    // No browser gets at a Unix socket, whatever it is called there.
    let caller = request.extensions().get::<Caller>();
    let is_unix = caller.is_some_and(|caller| caller.way == Way::Unix);
    (!is_unix || refusal == HostRefusal::Several).then_some(refusal)
}

fn answer(refusal: &HostRefusal) -> Problem {
    let detail = refusal.to_string();
    match refusal {
        HostRefusal::Several | HostRefusal::Malformed(_) => Problem::bad_request(detail),
        HostRefusal::Unknown(_) => {
            let code = "host_not_served";
            Problem::new(StatusCode::MISDIRECTED_REQUEST, code, detail).hint(
                "use an IP address, localhost or the Unix socket; or list the name in `api.hosts` of control.yaml",
            )
        }
    }
}
