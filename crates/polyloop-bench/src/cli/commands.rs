//! What each command does with what was asked for.

use polyloop_models::{Model, Variant};

use super::arguments::{AtlasArgs, CompareArgs, LoadArgs, ModelArgs, ReportArgs, ServeArgs};
use crate::control::Gate;
use crate::mistake::Mistake;
use crate::{atlas, compare, load, output, serve};

pub(super) fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let config = args.config()?;
    let mut model = args.model;
    for (flag, setting) in args.settings.given() {
        model
            .add(&setting)
            .map_err(|_| Mistake(goes_with(flag, &setting, model.model().name())))?;
    }
    serve::run(serve::Settings {
        model,
        transport: args.protocol.transport,
        protocol: args.protocol.protocol,
        cost: args.protocol.cost()?,
        listen: args.listen,
        config,
        control: args.control,
        pin: args.pin,
    })
}

pub(super) fn load(args: &LoadArgs) -> anyhow::Result<()> {
    let active = args.active.unwrap_or(args.connections);
    if active > args.connections {
        return Err(Mistake(format!(
            "--active {active} is more than --connections {}",
            args.connections
        ))
        .into());
    }
    let gate = if args.control { Gate::controlled()? } else { Gate::open() };
    let settings = load::Settings {
        transport: args.transport,
        target: args.target.clone(),
        protocol: args.protocol,
        connections: args.connections,
        active,
        size: args.size,
        duration: args.duration,
        requests: args.requests,
        warmup: args.warmup,
        rate: args.rate,
        short: args.short,
        timeout: args.timeout.unwrap_or_else(|| args.transport.patience()),
        seed: args.seed,
        pin: args.pin,
    };
    let report = load::run(&settings, &gate)?;
    if args.json && !args.control {
        output::print_json(&report)?;
    } else if !args.control {
        output::print(&report.text())?;
    }
    match report.failure() {
        None => Ok(()),
        Some(failure) => Err(anyhow::anyhow!(failure)),
    }
}

pub(super) fn compare(args: CompareArgs) -> anyhow::Result<()> {
    let settings = compare::Settings {
        models: models(args.models, &args.settings)?,
        peers: args.peer,
        transport: args.protocol.transport,
        protocol: args.protocol.protocol,
        cost: args.protocol.cost()?,
        scenarios: args.scenarios,
        rounds: args.rounds,
        duration: args.duration,
        warmup: args.warmup,
        connections: args.connections,
        active: args.active,
        baseline: args.baseline,
        margin: args.margin / 100.0,
        seed: args.seed,
        out: args.out,
    };
    let (results, saved) = compare::run(&settings)?;
    if args.json {
        output::print_json(&results)?;
    } else {
        output::print(&compare::table::draw(&results))?;
    }
    saved?;
    match results.failure() {
        None => Ok(()),
        Some(failure) => Err(anyhow::anyhow!(failure)),
    }
}

pub(super) fn report(args: &ReportArgs) -> anyhow::Result<()> {
    output::print(&compare::table::draw(&compare::save::read(&args.file)?))
}

pub(super) fn atlas(args: AtlasArgs) -> anyhow::Result<()> {
    if args.list {
        return output::print(&atlas::list());
    }
    let explained = args.explain.as_deref().map(atlas::find).transpose()?;
    let scenarios = explained.map_or(args.scenarios, |scenario| vec![scenario.name.to_owned()]);
    let atlas = atlas::run(&atlas::Settings { scenarios, backends: args.backend })?;
    match explained {
        Some(scenario) => output::print(&atlas::explain(scenario, &atlas)),
        None if args.json => output::print_json(&atlas),
        None => output::print(&atlas::table::draw(&atlas)),
    }
}

/// Which models an option is for that `who` does not know.
fn goes_with(flag: &str, setting: &str, who: &str) -> String {
    let knows = |model: &&Model| Variant::from(**model).add(setting).is_ok();
    let names: Vec<_> = Model::ALL.iter().filter(knows).map(|model| model.name()).collect();
    let names = match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    };
    format!("{flag} is not for {who}; it goes with {names}")
}

/// The models that are named, each with what was given for all that know it.
fn models(names: Vec<String>, settings: &ModelArgs) -> Result<Vec<Variant>, Mistake> {
    let mut models = Vec::new();
    for name in names.iter().filter(|name| !name.is_empty()) {
        if name == "all" {
            models.extend(Model::ALL.iter().map(|&model| Variant::from(model)));
        } else {
            models.push(name.parse::<Variant>().map_err(|unknown| Mistake(unknown.to_string()))?);
        }
    }
    for (flag, setting) in settings.given() {
        let known = models.iter_mut().filter_map(|model| model.add(&setting).ok()).count();
        if known == 0 {
            return Err(Mistake(goes_with(flag, &setting, "any of these models")));
        }
    }
    Ok(models)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::arguments::{Cli, Command};
    use super::*;

    #[test]
    fn a_setting_for_all_goes_to_those_who_know_it_and_yields_to_their_own() {
        let names = |arguments: &[&str]| {
            let cli = Cli::try_parse_from([&["polyloop", "compare"], arguments].concat()).unwrap();
            let Some(Command::Compare(args)) = cli.command else { panic!("compare was asked for") };
            let models = models(args.models, &args.settings).map_err(|usage| usage.0)?;
            Ok::<_, String>(models.iter().map(Variant::to_string).collect::<Vec<_>>())
        };
        assert_eq!(names(&["--models", ""]).unwrap(), [""; 0]);
        assert_eq!(names(&["--models", "all"]).unwrap().len(), Model::ALL.len());
        let given = names(&["--models", "mio,epoll,epoll:level", "--trigger", "edge"]).unwrap();
        assert_eq!(given, ["mio", "epoll:edge", "epoll:edge:level"]);
        assert!(names(&["--models", "mio", "--trigger", "edge"]).unwrap_err().contains("any of"));
    }
}
