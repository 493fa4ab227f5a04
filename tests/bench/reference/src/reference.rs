//! The reference: the server of GetConfig that one would write with tonic in an afternoon, with
//! answers from a `HashMap`.
//!
//! Built with the feature and the profile `well` it is the same server built well. It takes a
//! folder of encoded answers, one file for each project, so that it answers exactly what the
//! sidecar under measurement does. It refreshes nothing.

mod contract;

use std::{collections::HashMap, env, fs, path::Path};

use contract::{
    GetConfigRequest, GetConfigResponse,
    config_service_server::{ConfigService, ConfigServiceServer},
};
use prost::Message;
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

#[cfg(feature = "well")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error>;

struct Reference {
    held: HashMap<String, GetConfigResponse>,
}

#[tonic::async_trait]
impl ConfigService for Reference {
    async fn get_config(
        &self,
        request: Request<GetConfigRequest>,
    ) -> Result<Response<GetConfigResponse>, Status> {
        match self.held.get(&request.get_ref().project) {
            Some(answer) => Ok(Response::new(answer.clone())),
            None => Err(Status::not_found("no such project")),
        }
    }
}

#[cfg_attr(feature = "well", tokio::main(flavor = "current_thread"))]
#[cfg_attr(not(feature = "well"), tokio::main)]
async fn main() -> Result<(), Failure> {
    let folder = env::args().nth(1).ok_or("usage: reference FOLDER")?;
    let reference = Reference {
        held: read(Path::new(&folder))?,
    };
    // As Server::serve has it.
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?.with_nodelay(Some(true));
    println!("{}", incoming.local_addr()?);
    Server::builder()
        .add_service(ConfigServiceServer::new(reference))
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}

fn read(folder: &Path) -> Result<HashMap<String, GetConfigResponse>, Failure> {
    let mut held = HashMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let answer = GetConfigResponse::decode(fs::read(entry.path())?.as_slice())?;
        held.insert(entry.file_name().to_string_lossy().into_owned(), answer);
    }
    Ok(held)
}
