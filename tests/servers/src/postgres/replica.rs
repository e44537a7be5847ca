//! A streaming replica: a copy of the primary that follows it and answers reads, until it is promoted.

use super::{Postgres, PostgresOptions, SUPERUSER, run};
use crate::wait;

impl Postgres {
    /// Copies this server and starts the copy as a hot standby that follows it. `options` say where; superuser and password
    /// are the primary's.
    ///
    /// The primary keeps what the replica has not yet got (a replication slot), also while the replica is down.
    pub fn replica(&self, options: PostgresOptions) -> anyhow::Result<Postgres> {
        let options = PostgresOptions { password: Some(self.password.clone()), ..options };
        let mut replica = Self::place(options)?;
        if !replica.data().join("PG_VERSION").exists() {
            let mut copy = replica.command("pg_basebackup");
            copy.arg("--pgdata").arg(replica.data()).args(["--dbname", &self.url()]);
            copy.args(["--write-recovery-conf", "--checkpoint", "fast", "--create-slot"]);
            copy.args(["--slot", &format!("replica_{}", replica.address.port())]);
            if replica.options.unsynced {
                copy.arg("--no-sync");
            }
            run(&mut copy)?;
        }
        replica.restart()?;
        Ok(replica)
    }

    /// Waits until this replica has replayed all that the primary has written by now.
    pub fn wait_caught_up(&self, primary: &Postgres) -> anyhow::Result<()> {
        let written = primary.sql(SUPERUSER, "SELECT pg_current_wal_lsn()")?;
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        wait::until("the replica to have replayed", || {
            (self.sql(SUPERUSER, &replayed).ok()? == "t").then_some(())
        })
    }

    /// Makes this replica a primary; returns when it takes writes.
    pub fn promote(&self) -> anyhow::Result<()> {
        let promoted = self.sql(SUPERUSER, "SELECT pg_promote(wait => true)")?;
        anyhow::ensure!(promoted == "t", "the replica was not promoted");
        Ok(())
    }

    /// Whether this server follows another one.
    pub fn is_replica(&self) -> anyhow::Result<bool> {
        Ok(self.sql(SUPERUSER, "SELECT pg_is_in_recovery()")? == "t")
    }
}
