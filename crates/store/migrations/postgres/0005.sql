-- The last number of a lane that is final is asked whenever a node takes the lane: no node of the chain may count less.
CREATE INDEX outgoing_closed ON outgoing (lane, sequence) WHERE under_way = 0;
