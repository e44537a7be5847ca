-- What a role that serves (here: relay) needs in a schema (here: skywave) whose tables another role owns.
GRANT USAGE ON SCHEMA skywave TO relay;
GRANT SELECT ON skywave.versions TO relay;
GRANT SELECT, INSERT ON skywave.store TO relay;
GRANT SELECT, INSERT, UPDATE ON skywave.partitions, skywave.channels, skywave.horizons TO relay;
GRANT SELECT, INSERT, DELETE ON skywave.publications, skywave.dedup TO relay;
