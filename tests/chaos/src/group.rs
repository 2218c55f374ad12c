//! The servers of one group, each on a machine, and two machines for clients.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};

use serde_json::{Value, json};

use crate::client::{Client, Language, breath, url};
use crate::node::{Common, Node};
use crate::world::{World, address};

/// How long a group may take to begin.
const PATIENCE: Duration = Duration::from_secs(60);

/// Nodes on machines.
#[derive(Debug)]
pub struct Group {
    /// The machines: those of the nodes first, then two for clients.
    pub world: Arc<World>,
    /// The nodes, whose places are those of their machines.
    pub nodes: Vec<Node>,
    /// Gives orders, from the first machine of the clients.
    pub operator: Client,
    common: Common,
}

/// The group, as its operator is told.
#[derive(Debug)]
pub struct Members {
    /// The place of who leads.
    pub leader: usize,
    /// The number of the node at each place, while it is a member.
    pub numbers: BTreeMap<usize, u64>,
    /// How many have a vote and answer.
    voters: usize,
}

impl Group {
    /// Starts so many nodes, which find each other and begin.
    pub fn start(
        size: usize,
        root: &Path,
        program: &Path,
        preload: &str,
        rust: &Language,
    ) -> Result<Group, String> {
        let world = Arc::new(World::new(size + 2)?);
        let mut nodes: Vec<Node> = (0..size).map(|host| Node::new(host, root)).collect();
        let authority = certify(&nodes, root);
        let (program, preload) = (program.to_owned(), preload.to_owned());
        let common = Common { program, preload, size, authority };
        nodes.iter_mut().for_each(|node| node.start(&world, &common));
        let begin = Instant::now();
        while !nodes.iter().all(Node::is_up) {
            if begin.elapsed() > PATIENCE {
                return Err(format!("not all nodes start:\n{}", last_words(&nodes)));
            }
            breath();
        }
        let operator = Client::start(&world, size, rust, &url(0..size, ""));
        let mut group = Group { world, nodes, operator, common };
        group.await_voters(PATIENCE)?;
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

    /// The group, when there is one that can decide.
    pub fn members(&mut self) -> Option<Members> {
        let told = self.operator.ask(&json!({"op": "CLUSTER_STATUS", "args": {}})).ok()?;
        let leads = told["leader"].as_u64().filter(|_| told["has_quorum"] == true)?;
        let mut members = Members { leader: 0, numbers: BTreeMap::new(), voters: 0 };
        for member in told["members"].as_array()? {
            let number = member["node"].as_u64()?;
            let host = member["address"].as_str()?.rsplit_once(':')?.0;
            let place = (0..self.nodes.len()).find(|place| address(*place) == host)?;
            members.numbers.insert(place, number);
            let votes = member["role"] == "leader" || member["role"] == "follower";
            members.voters += usize::from(votes && member["answers"] == true);
            if number == leads {
                members.leader = place;
            }
        }
        Some(members)
    }

    /// An order to the group: the answer, as far as people want to know.
    pub fn order(&mut self, op: &str, args: Value) -> Result<String, String> {
        let answer = self.operator.ask(&json!({"op": op, "args": args}))?;
        match answer.get("error") {
            None => Ok(answer.to_string()),
            Some(error) => Err(error.to_string()),
        }
    }

    /// Has the group go on without the node of this number, whose directory is lost then. Who is still a member keeps what
    /// it has.
    pub fn expel(&mut self, place: usize, number: u64) -> Result<String, String> {
        let said = self.order("CLUSTER_REMOVE", json!({"node": number, "force": true}))?;
        self.nodes[place].wipe();
        Ok(said)
    }

    /// The same, as often as it takes while nobody leads.
    pub fn insist_on_expelling(&mut self, place: usize, number: u64) -> Result<(), String> {
        let begin = Instant::now();
        loop {
            match self.expel(place, number) {
                Ok(_) => return Ok(()),
                Err(why) if begin.elapsed() > PATIENCE => return Err(why),
                Err(_) => breath(),
            }
        }
    }

    /// Whether all nodes vote and answer.
    pub fn is_whole(&mut self) -> bool {
        self.members().is_some_and(|members| members.voters == self.nodes.len())
    }

    /// Waits until all nodes vote and answer.
    pub fn await_voters(&mut self, patience: Duration) -> Result<(), String> {
        let begin = Instant::now();
        while begin.elapsed() < patience {
            if self.is_whole() {
                return Ok(());
            }
            breath();
        }
        let told = self.operator.ask(&json!({"op": "CLUSTER_STATUS", "args": {}}));
        let words = last_words(&self.nodes);
        Err(format!("not all vote and answer after {patience:?}: {told:?}\n{words}"))
    }
}

/// What the nodes said last.
pub fn last_words(nodes: &[Node]) -> String {
    nodes.iter().map(Node::last_words).collect::<Vec<_>>().join("\n--\n")
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
