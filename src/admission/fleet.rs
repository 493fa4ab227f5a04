//! A fleet in one process: many real machines against a model of a renderer, in virtual time.

mod confirming;
mod controllers;
mod observed;
mod pod;
mod renderer;
mod scenarios;
mod sidecar;
mod sim;
mod verdict;
mod witness;

/// How many sidecars, and how many projects: `EVENKEEL_FLEET=1000x200`.
fn size() -> (usize, usize) {
    let set = std::env::var("EVENKEEL_FLEET").unwrap_or_else(|_| "100x100".to_owned());
    let (sidecars, projects) = set
        .split_once('x')
        .expect("EVENKEEL_FLEET is not like 100x100");
    let number = |text: &str| text.parse().expect("EVENKEEL_FLEET is not like 100x100");
    (number(sidecars), number(projects))
}
