//! The servers of one group, each on a machine, and two machines for clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};

use crate::client::breath;
use crate::node::{Common, Members, Node};
use crate::world::{World, address};

/// Nodes on machines.
#[derive(Debug)]
pub struct Group {
    /// The machines: those of the nodes first, then two for clients.
    pub world: Arc<World>,
    /// The nodes, whose places are those of their machines.
    pub nodes: Vec<Node>,
    common: Common,
}

impl Group {
    /// Starts so many nodes, which find each other and begin.
    pub fn start(size: usize, root: &Path, program: &Path, preload: &str) -> Result<Group, String> {
        let world = Arc::new(World::new(size + 2)?);
        let nodes: Vec<Node> = (0..size).map(|host| Node::new(host, root)).collect();
        let authority = certify(&nodes, root);
        let (program, preload) = (program.to_owned(), preload.to_owned());
        let common = Common { program, preload, size, authority };
        let mut group = Group { world, nodes, common };
        (0..size).for_each(|place| group.start_node(place));
        group.await_voters(Duration::from_secs(60))?;
        Ok(group)
    }

    /// The machines of clients.
    pub fn clients(&self) -> [usize; 2] {
        [self.nodes.len(), self.nodes.len() + 1]
    }

    /// Starts a node.
    pub fn start_node(&mut self, place: usize) {
        self.nodes[place].start(&self.world, &self.common);
    }

    /// Who leads, and the group as it sees it.
    pub fn leader(&mut self) -> Option<(usize, Members)> {
        let runs = |(place, node): (usize, &mut Node)| {
            let members = if node.runs() { node.members() } else { None };
            members.filter(|members| members.leads).map(|members| (place, members))
        };
        self.nodes.iter_mut().enumerate().find_map(runs)
    }

    /// The number of the node at a place, as somebody sees it.
    pub fn id(members: &Members, place: usize) -> Option<u16> {
        let peer = format!("{}:7403", address(place));
        members.nodes.iter().find(|node| node.peer == peer).map(|node| node.id)
    }

    /// Waits until all nodes run and vote.
    pub fn await_voters(&mut self, patience: Duration) -> Result<(), String> {
        let begin = Instant::now();
        while begin.elapsed() < patience {
            let found = self.leader();
            let votes = |members: &Members| members.nodes.iter().filter(|node| node.votes).count();
            if found.is_some_and(|(_, members)| votes(&members) == self.nodes.len()) {
                return Ok(());
            }
            breath();
        }
        let words: Vec<String> = self.nodes.iter().map(Node::last_words).collect();
        Err(format!("not all vote after {patience:?}:\n{}", words.join("\n--\n")))
    }
}

/// Gives each node a certificate for its address; where that of their authority is.
fn certify(nodes: &[Node], root: &Path) -> PathBuf {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    for node in nodes {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![address(node.host)]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let signed = params.signed_by(&key, &authority).unwrap();
        std::fs::write(node.file("node.pem"), signed.pem()).unwrap();
        std::fs::write(node.file("node.key"), key.serialize_pem()).unwrap();
    }
    let path = root.join("authority.pem");
    std::fs::write(&path, authority.pem()).unwrap();
    path
}
