//! The scenarios of datagrams, on every model that serves them: one line each.

use std::io::ErrorKind;
use std::net::SocketAddr;

use polyloop::{Config, DatagramProtocol, Reply};
use polyloop_conformance::test_datagrams;
use polyloop_models::Model;

test_datagrams!(iterative: Model::Iterative);
test_datagrams!(spin: Model::Spin);
test_datagrams!(pool: Model::Pool);
test_datagrams!(select: Model::Select);
test_datagrams!(poll: Model::Poll);
test_datagrams!(epoll: Model::Epoll);
test_datagrams!(mio: Model::Mio);

struct Silent;

impl DatagramProtocol for Silent {
    fn received(&mut self, _: SocketAddr, _: &[u8], _: Reply<'_>) {}
}

/// A model without a line above would be tested by nobody; one that serves no datagrams says why.
#[test]
fn every_model_is_tested_or_says_why_not() {
    let here = include_str!("datagram.rs");
    for &model in Model::ALL {
        let line = format!("test_datagrams!({model}: Model::");
        let tested = here.lines().any(|there| there.starts_with(&line));
        match model.bind_datagram("127.0.0.1:0", Config::default(), || Silent) {
            Ok(_) => assert!(tested, "no line for {model}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{model}: {error}");
                let name = format!("{model}: ");
                assert!(error.to_string().starts_with(&name), "{model} gives its reason: {error}");
            }
        }
    }
}
