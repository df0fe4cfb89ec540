-- Whether anything was paid for a resource is asked whenever a wallet may sign in instead of paying. The beginning of its name
-- alone is ordered, for names may be longer than what an index takes.
CREATE INDEX reservations_by_resource ON reservations (substr(resource, 1, 256));
