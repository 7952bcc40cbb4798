-- Creates the databases and roles of a workspace in PostgreSQL and its crypto zone. Run it once, as a superuser:
--   psql --dbname postgres --file roles.sql
-- Then set passwords with \password, or use client certificates. See core/sealyard/agent/README.md.
\set ON_ERROR_STOP on

-- The operator: owns the tables, and runs `sealyard db upgrade` and `sealyard bus upgrade`.
CREATE ROLE sealyard_owner LOGIN;
-- The API servers. `sealyard db upgrade` grants its privileges to the group.
CREATE ROLE sealyard_engine NOLOGIN;
CREATE ROLE sealyard_server LOGIN IN ROLE sealyard_engine;
-- The crypto hosts. `sealyard bus upgrade` grants its privileges, only in the bus database.
CREATE ROLE sealyard_crypto LOGIN;

CREATE DATABASE sealyard OWNER sealyard_owner ENCODING 'UTF8' TEMPLATE template0;
CREATE DATABASE sealyard_bus OWNER sealyard_owner ENCODING 'UTF8' TEMPLATE template0;
REVOKE CONNECT, TEMPORARY ON DATABASE sealyard, sealyard_bus FROM PUBLIC;
GRANT CONNECT ON DATABASE sealyard TO sealyard_engine;
GRANT CONNECT ON DATABASE sealyard_bus TO sealyard_server, sealyard_crypto;
