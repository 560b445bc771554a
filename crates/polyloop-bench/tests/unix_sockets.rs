//! Every model on a Unix socket, as users start it.
#![cfg(unix)]

mod common;

use common::{polyloop, Serving};
use polyloop_bench::load::Report;
use polyloop_models::{Model, Options};

#[test]
fn load_finds_every_answer_right() {
    let folder = tempfile::tempdir().unwrap();
    for &model in Model::ALL {
        let listen = format!("unix:{}", folder.path().join(model.name()).display());
        let server = Serving::start_at(&listen, &["--model", model.name()]);
        assert_eq!(server.is_some(), model.check().is_ok(), "{model}");
        let Some(server) = server else { continue };
        assert_eq!(server.target.to_string(), listen);
        let at_once = model.connections_at_once(&Options::default());
        let connections = at_once.map_or(8, |most| most.min(8)).to_string();
        for kind in ["--size 64", "--size 300000", "--short"] {
            let mut words = vec!["load", "--target", &listen, "--connections", &connections];
            words.extend(["--requests", "80", "--warmup", "0s", "--json"]);
            words.extend(kind.split_whitespace());
            let ended = polyloop(&words);
            assert_eq!(ended.code, Some(0), "{model} {kind}: {ended:?}");
            let report: Report = serde_json::from_str(&ended.stdout).unwrap();
            let errors = report.errors.total();
            assert_eq!((report.requests, errors), (80, 0), "{model} {kind}: {report:?}");
        }
    }
}
