//! A protocol of datagrams that panics ends its server: no address stays bound that nobody reads.

use std::net::{SocketAddr, UdpSocket};
use std::thread;

use polyloop::{Address, Config, DatagramProtocol, Reply};
use polyloop_models::Model;

struct Panics;

impl DatagramProtocol for Panics {
    fn received(&mut self, _: SocketAddr, _: &[u8], _: Reply<'_>) {
        panic!("a protocol that panics");
    }
}

#[test]
fn a_panic_ends_a_server_of_datagrams_on_every_model() {
    let serves = |model: &Model| model.check().is_ok() && model.serves_datagrams().is_ok();
    for model in Model::ALL.iter().copied().filter(serves) {
        let two = [(); 2].map(|()| Address::Ip(([127, 0, 0, 1], 0).into()));
        let server = match model {
            // One thread, one address.
            Model::Iterative => model.bind_datagram(&two[..1], Config::default(), || Panics),
            _ => model.bind_datagram(&two[..], Config::default(), || Panics),
        };
        let server = server.unwrap();
        let address = server.addresses()[0].clone();
        let running = thread::spawn(move || server.run());
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(&address).unwrap();
        client.send(b"anything").unwrap();
        assert!(running.join().is_err(), "{model}");
    }
}
