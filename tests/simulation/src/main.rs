use skywave_simulation::world::{Setup, World};
fn main() {
    let seed = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(1);
    let trace = std::env::args().any(|a| a == "--trace");
    let out = World::run(Setup { seed, sabotage: None, trace });
    println!("{:?} {} {}", out.tally, out.digest, out.events);
}
