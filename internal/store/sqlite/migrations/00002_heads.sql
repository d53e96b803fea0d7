-- +goose Up

-- Queries over an estate look at every resource's id, location and tags, and at few
-- bodies: with these in the index of lists, they read a tenth of the file.
DROP INDEX documents_type;
CREATE INDEX documents_type ON documents (type_key, key, id, type, location, tags);

-- +goose Down
DROP INDEX documents_type;
CREATE INDEX documents_type ON documents (type_key, key);
