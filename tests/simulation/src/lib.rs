pub mod checkers;
pub mod history;
pub mod random;
pub mod sabotage;
pub mod world;
