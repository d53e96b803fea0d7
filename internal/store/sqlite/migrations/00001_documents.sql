-- +goose Up

-- One row for each resource. Columns that end in _key are the lower-case forms that
-- queries compare. Subscriptions and groups are found by the range of their key, which
-- starts with their id, so the index on (type_key, key) serves all lists in key order.
CREATE TABLE documents (
    key                TEXT    NOT NULL UNIQUE,
    id                 TEXT    NOT NULL,
    type               TEXT    NOT NULL,
    type_key           TEXT    NOT NULL,
    subscription       TEXT    NOT NULL,
    subscription_key   TEXT    NOT NULL,
    resource_group     TEXT    NOT NULL,
    resource_group_key TEXT    NOT NULL,
    location           TEXT    NOT NULL,
    location_key       TEXT    NOT NULL,
    tags               TEXT,             -- JSON object
    body               BLOB,             -- JSON
    private            BLOB,             -- JSON
    operations         TEXT,             -- JSON array of ids
    deleting           INTEGER NOT NULL,
    revision           INTEGER NOT NULL,
    created_at         INTEGER,          -- microseconds since 1970, UTC
    updated_at         INTEGER,
    created_by         TEXT    NOT NULL,
    updated_by         TEXT    NOT NULL
);
CREATE INDEX documents_type ON documents (type_key, key);
CREATE INDEX documents_location ON documents (location_key, key) WHERE location_key <> '';
CREATE INDEX documents_revision ON documents (revision, key, type);

-- What was deleted and is not there again.
CREATE TABLE tombstones (
    key      TEXT    NOT NULL PRIMARY KEY,
    type     TEXT    NOT NULL,
    revision INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX tombstones_revision ON tombstones (revision, key, type);

-- revision: of the last change. pruned: of the newest tombstone that was forgotten.
CREATE TABLE counters (
    name  TEXT    NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO counters (name, value) VALUES ('revision', 0), ('pruned', 0);

-- +goose Down
DROP TABLE counters;
DROP TABLE tombstones;
DROP TABLE documents;
