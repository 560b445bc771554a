//! What is measured, and in which order.

use std::path::PathBuf;

use polyloop_models::Variant;
use serde::{Deserialize, Serialize};

use super::Settings;
use crate::mistake::Mistake;
use crate::protocols::{Builtin, Cost};
use crate::transport::Transport;
use crate::units;

/// A kind of load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: String,
    /// How many connections are held at the same time.
    pub connections: usize,
    /// How many of them make requests.
    pub active: usize,
    /// The length of a message in bytes.
    pub size: usize,
    /// One request a connection.
    pub short: bool,
}

impl Scenario {
    /// Returns the scenarios that exist.
    pub fn all() -> Vec<Scenario> {
        let scenario = |name: &str, connections, active, short| Scenario {
            name: name.to_owned(),
            connections,
            active,
            size: 64,
            short,
        };
        vec![
            scenario("active", 64, 64, false),
            scenario("idle", 1000, 10, false),
            scenario("short", 64, 64, true),
        ]
    }

    /// The same scenario with another number of connections, the same share of them active.
    fn with_connections(mut self, connections: usize) -> Self {
        self.active = (self.active * connections).div_ceil(self.connections);
        self.connections = connections;
        self
    }

    /// Describes the scenario in one line.
    pub fn describe(&self, transport: Transport) -> String {
        let connections = units::count(self.connections as u64);
        let held = match transport {
            Transport::Tcp => "connections",
            Transport::Udp => "clients",
        };
        let size = self.size;
        if self.short {
            format!("{connections} short connections at a time: connect, one request of {size} bytes, close")
        } else if self.active == self.connections {
            format!("{connections} {held}, all active, messages of {size} bytes")
        } else {
            let active = units::count(self.active as u64);
            format!("{connections} {held}, {active} of them active, messages of {size} bytes")
        }
    }
}

/// A server that takes part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contestant {
    /// Its name in the table.
    pub name: String,
    /// The program to start; empty for this program itself.
    pub program: PathBuf,
    /// Its arguments, before those that every server gets.
    pub arguments: Vec<String>,
}

impl Contestant {
    fn model(model: &Variant, protocol: Builtin, cost: Cost) -> Self {
        let name = model.to_string();
        let mut arguments =
            ["serve", "--model", &name, "--protocol", protocol.name()].map(str::to_owned).to_vec();
        for (option, time) in [("--work", cost.work), ("--sleep", cost.sleep)] {
            if !time.is_zero() {
                arguments.extend([option.to_owned(), units::microseconds(time)]);
            }
        }
        Contestant { name, program: PathBuf::new(), arguments }
    }
}

/// Everything that is to be measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The kinds of load.
    pub scenarios: Vec<Scenario>,
    /// The servers; the last one is the baseline once more, so that every run shows how far
    /// a server comes out from itself.
    pub contestants: Vec<Contestant>,
    /// The name of the server that the others are divided by.
    pub baseline: String,
    seed: u64,
}

impl Plan {
    /// Makes a plan.
    ///
    /// # Errors
    ///
    /// A name that does not exist or stands there twice, or nothing to compare.
    pub fn new(settings: &Settings, seed: u64) -> Result<Self, Mistake> {
        let model = |model| Contestant::model(model, settings.protocol, settings.cost);
        let mut contestants: Vec<_> = settings.models.iter().map(model).collect();
        contestants.extend(settings.peers.iter().cloned());
        let Some(first) = contestants.first() else {
            return Err(Mistake("nothing to compare: name a --models or a --peer".to_owned()));
        };

        let baseline = settings.baseline.clone().unwrap_or_else(|| first.name.clone());
        let Some(again) = contestants.iter().find(|contestant| contestant.name == baseline) else {
            return Err(Mistake(format!("the baseline {baseline} is not among the contestants")));
        };
        let again = Contestant { name: again_name(&baseline), ..again.clone() };
        contestants.push(again);
        if let Some(twice) = first_twice(contestants.iter().map(|contestant| &contestant.name)) {
            return Err(Mistake(format!(
                "two contestants are called {twice}: name one differently"
            )));
        }

        let all = Scenario::all();
        let mut scenarios: Vec<Scenario> = Vec::new();
        let mut names = settings.scenarios.clone();
        if names.is_empty() {
            names = all.iter().map(|scenario| scenario.name.clone()).collect();
            names.retain(|name| settings.transport == Transport::Tcp || name != "short");
        }
        for name in &names {
            let Some(scenario) = all.iter().find(|scenario| scenario.name == *name) else {
                let names: Vec<&str> = all.iter().map(|scenario| scenario.name.as_str()).collect();
                return Err(Mistake(format!(
                    "there is no scenario {name}: choose among {}",
                    names.join(", ")
                )));
            };
            if settings.transport == Transport::Udp && scenario.short {
                return Err(Mistake(format!("{name} is a scenario of connections: udp has none")));
            }
            let mut scenario = scenario.clone();
            if let Some(connections) = settings.connections {
                scenario = scenario.with_connections(connections);
            }
            if let Some(active) = settings.active.filter(|_| !scenario.short) {
                if active > scenario.connections {
                    let connections = scenario.connections;
                    return Err(Mistake(format!(
                        "--active {active} is more than the {connections} connections of {name}"
                    )));
                }
                scenario.active = active;
            }
            scenarios.push(scenario);
        }
        if let Some(twice) = first_twice(scenarios.iter().map(|scenario| &scenario.name)) {
            return Err(Mistake(format!("the scenario {twice} is named twice")));
        }
        Ok(Plan { scenarios, contestants, baseline, seed })
    }

    /// How many measurements a round has.
    pub fn cells_a_round(&self) -> usize {
        self.scenarios.len() * self.contestants.len()
    }

    /// Returns the order of one round, as pairs of a scenario's and a contestant's index.
    ///
    /// The scenarios come in a random order and, within each, the contestants do: whatever
    /// the machine goes through meets all contestants of a scenario alike, and those that are
    /// divided by each other run close together.
    pub fn order(&self, round: u32) -> Vec<(usize, usize)> {
        let mut random = fastrand::Rng::with_seed(self.seed.wrapping_add(u64::from(round) << 32));
        let mut scenarios: Vec<usize> = (0..self.scenarios.len()).collect();
        random.shuffle(&mut scenarios);
        let mut order = Vec::with_capacity(self.cells_a_round());
        for scenario in scenarios {
            let mut contestants: Vec<usize> = (0..self.contestants.len()).collect();
            random.shuffle(&mut contestants);
            order.extend(contestants.into_iter().map(|contestant| (scenario, contestant)));
        }
        order
    }
}

/// The name under which the baseline runs a second time.
pub fn again_name(baseline: &str) -> String {
    format!("{baseline} again")
}

fn first_twice<'a>(names: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    let mut seen = std::collections::HashSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use polyloop_models::Model;
    use std::time::Duration;

    fn settings() -> Settings {
        Settings {
            models: vec![Model::Mio.into(), Model::Thread.into()],
            peers: Vec::new(),
            transport: Transport::Tcp,
            protocol: Builtin::Echo,
            cost: Cost::default(),
            scenarios: vec!["active".to_owned(), "short".to_owned()],
            rounds: 6,
            duration: Duration::from_secs(1),
            warmup: Duration::ZERO,
            connections: None,
            active: None,
            baseline: None,
            margin: 0.03,
            seed: None,
            out: None,
        }
    }

    #[test]
    fn every_round_measures_everything_once() {
        let plan = Plan::new(&settings(), 1).unwrap();
        let mut all: Vec<_> = (0..2).flat_map(|s| (0..3).map(move |c| (s, c))).collect();
        all.sort_unstable();
        for round in 0..20 {
            let mut order = plan.order(round);
            order.sort_unstable();
            assert_eq!(order, all);
        }
    }

    #[test]
    fn the_order_follows_from_the_seed_and_differs_by_round() {
        let orders = |seed| {
            let plan = Plan::new(&settings(), seed).unwrap();
            (0..20).map(|round| plan.order(round)).collect::<Vec<_>>()
        };
        assert_eq!(orders(7), orders(7));
        assert_ne!(orders(7), orders(8));
        assert!(orders(7).iter().any(|order| *order != orders(7)[0]));
    }

    #[test]
    fn the_baseline_runs_twice() {
        let plan = Plan::new(&settings(), 1).unwrap();
        assert_eq!(plan.baseline, "mio");
        assert_eq!(plan.contestants.last().unwrap().name, "mio again");
        let mut other = settings();
        other.baseline = Some("thread".to_owned());
        let plan = Plan::new(&other, 1).unwrap();
        assert_eq!(plan.contestants.last().unwrap().name, "thread again");
    }

    #[test]
    fn mistakes_say_what_there_is() {
        let fails = |change: fn(&mut Settings)| {
            let mut settings = settings();
            change(&mut settings);
            Plan::new(&settings, 1).unwrap_err().0
        };
        assert!(fails(|s| s.scenarios[0] = "busy".into()).contains("active, idle, short"));
        assert!(fails(|s| s.baseline = Some("poll".into())).contains("not among"));
        assert!(fails(|s| s.models.clear()).contains("nothing to compare"));
        assert!(fails(|s| s.models[1] = Model::Mio.into()).contains("two contestants"));
        // The baseline's second row has its name, whoever else would.
        let peer = |name: &str| Contestant {
            name: name.to_owned(),
            program: "peer".into(),
            arguments: Vec::new(),
        };
        let mut with_peer = settings();
        with_peer.peers.push(peer("mio again"));
        let told = Plan::new(&with_peer, 1).unwrap_err().0;
        assert!(told.contains("two contestants are called mio again"), "{told}");
        with_peer.peers[0] = peer("thread again");
        assert!(Plan::new(&with_peer, 1).is_ok());
        assert!(fails(|s| s.transport = Transport::Udp).contains("short is a scenario of"));
    }

    #[test]
    fn without_names_every_scenario_of_the_transport_is_measured() {
        let mut settings = settings();
        settings.scenarios.clear();
        for (transport, scenarios) in [(Transport::Tcp, 3), (Transport::Udp, 2)] {
            settings.transport = transport;
            assert_eq!(Plan::new(&settings, 1).unwrap().scenarios.len(), scenarios);
        }
    }

    #[test]
    fn another_number_of_connections_keeps_the_share_of_active_ones() {
        let idle = Scenario::all().remove(1);
        let larger = idle.clone().with_connections(9000);
        assert_eq!((larger.connections, larger.active), (9000, 90));
        assert_eq!(idle.with_connections(1).active, 1);
    }
}
