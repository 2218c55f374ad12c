//! What takes long is done on a thread; under simulation there is one thread for all.

use std::io;

use rstmdb_types::Result;

use super::slot::failed;

#[cfg(not(feature = "simulation"))]
pub(super) use beside::Worker;
#[cfg(feature = "simulation")]
pub(super) use here::WorkerHere as Worker;

#[cfg(not(feature = "simulation"))]
mod beside {
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    type Job = Box<dyn FnOnce() + Send>;

    /// Does one thing after the other, away from those who must not wait.
    #[derive(Clone)]
    pub(crate) struct Worker {
        jobs: mpsc::UnboundedSender<Job>,
    }

    impl Worker {
        /// Its thread ends with the last clone of it.
        pub(crate) fn start(name: &str) -> io::Result<Worker> {
            let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
            std::thread::Builder::new().name(name.to_owned()).spawn(move || {
                while let Some(job) = queue.blocking_recv() {
                    job();
                }
            })?;
            Ok(Worker { jobs })
        }

        /// Does this behind all that was asked for before.
        pub(crate) async fn run<T: Send + 'static>(
            &self,
            job: impl FnOnce() -> Result<T> + Send + 'static,
        ) -> io::Result<T> {
            let (told, answer) = oneshot::channel();
            let job = Box::new(move || drop(told.send(job())));
            let gone = || io::Error::other("the thread that applies is gone");
            self.jobs.send(job).map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?.map_err(failed)
        }
    }
}

#[cfg(feature = "simulation")]
mod here {
    use super::*;

    #[derive(Clone)]
    pub(crate) struct WorkerHere;

    impl WorkerHere {
        pub(crate) fn start(_: &str) -> io::Result<WorkerHere> {
            Ok(WorkerHere)
        }

        pub(crate) async fn run<T>(&self, job: impl FnOnce() -> Result<T>) -> io::Result<T> {
            job().map_err(failed)
        }
    }
}
