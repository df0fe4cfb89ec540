-- What may be had so many times in a period: how many were granted in the newest one, and when that ends. A counter is known by
-- the digest of its name, which may hold an address.
CREATE TABLE quotas (
    counter BYTEA NOT NULL PRIMARY KEY CHECK (length(counter) = 32),
    until BIGINT NOT NULL,
    used BIGINT NOT NULL CHECK (used > 0)
);
CREATE INDEX quotas_by_end ON quotas (until);
