CREATE TABLE {sessions} (
  id BIGINT GENERATED ALWAYS AS IDENTITY,
  shard SMALLINT NOT NULL,
  identity BYTEA NOT NULL,
  owner BIGINT NOT NULL,
  epoch BIGINT NOT NULL,
  cut_epoch BIGINT NOT NULL,
  head BIGINT NOT NULL,
  messages BIGINT NOT NULL,
  turns BIGINT NOT NULL,
  tokens BIGINT NOT NULL,
  input_tokens BIGINT DEFAULT 0 NOT NULL,
  output_tokens BIGINT DEFAULT 0 NOT NULL,
  cached_tokens BIGINT DEFAULT 0 NOT NULL,
  requests BIGINT DEFAULT 0 NOT NULL,
  created BIGINT NOT NULL,
  last_active BIGINT NOT NULL,
  active_period BIGINT NOT NULL,
  refused BIGINT,
  tenant TEXT NOT NULL,
  "user" TEXT NOT NULL,
  agent TEXT NOT NULL,
  key TEXT NOT NULL,
  about BYTEA,
  archived BYTEA,
  sealed BIGINT DEFAULT 0 NOT NULL,
  sealed_at BIGINT,
  expires_in BIGINT,
  fence BIGINT DEFAULT 0 NOT NULL,
  lineage BIGINT DEFAULT 0 NOT NULL,
  waits SMALLINT DEFAULT 0 NOT NULL,
  maybe_open SMALLINT DEFAULT 0 NOT NULL,
  held_until BIGINT,
  holder BYTEA,
  PRIMARY KEY (id, shard),
  UNIQUE (identity, shard)
)
  WITH (fillfactor = 80);

CREATE INDEX onrecord_sessions_by_activity ON {sessions} (active_period, id);

CREATE INDEX onrecord_sessions_by_agent ON {sessions} (agent, active_period, id) WHERE agent <> '';

CREATE INDEX onrecord_sessions_by_expiry ON {sessions} ((CAST(active_period AS DOUBLE PRECISION) * 512 + expires_in / 1000000), id) WHERE expires_in IS NOT NULL;

CREATE INDEX onrecord_sessions_by_maybe_open ON {sessions} (owner, id) WHERE maybe_open = 1;

CREATE INDEX onrecord_sessions_by_owner ON {sessions} (owner, active_period, id);

CREATE INDEX onrecord_sessions_by_owner_agent ON {sessions} (owner, agent, active_period, id) WHERE agent <> '';

CREATE INDEX onrecord_sessions_by_tenant ON {sessions} (tenant, active_period, id) WHERE tenant <> '';

CREATE INDEX onrecord_sessions_by_tenant_agent ON {sessions} (tenant, agent, active_period, id) WHERE tenant <> '' AND agent <> '';

CREATE TABLE {tail} (
  session BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  created BIGINT NOT NULL,
  token BIGINT NOT NULL,
  epoch INTEGER NOT NULL,
  tokens INTEGER NOT NULL,
  counter SMALLINT NOT NULL,
  opens_turn SMALLINT NOT NULL,
  shard SMALLINT NOT NULL,
  frame BYTEA,
  raw INTEGER,
  dictionary SMALLINT,
  id TEXT,
  PRIMARY KEY (session, seq, shard)
);

CREATE UNIQUE INDEX onrecord_tail_by_id ON {tail} (session, id, shard) WHERE id IS NOT NULL;

CREATE TABLE {segments} (
  session BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  first BIGINT NOT NULL,
  messages INTEGER NOT NULL,
  turns INTEGER NOT NULL,
  tokens BIGINT NOT NULL,
  created_min BIGINT NOT NULL,
  created_max BIGINT NOT NULL,
  raw BIGINT NOT NULL,
  dictionary SMALLINT,
  shard SMALLINT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (session, seq, shard)
)
  WITH (toast_tuple_target = 8160);

CREATE TABLE {runs} (
  session BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  upto BIGINT NOT NULL,
  analyser SMALLINT NOT NULL,
  shard SMALLINT NOT NULL,
  terms BYTEA NOT NULL,
  PRIMARY KEY (session, seq, shard)
);

CREATE TABLE {embedders} (
  id INTEGER NOT NULL,
  identity BYTEA NOT NULL,
  name TEXT NOT NULL,
  dimensions INTEGER NOT NULL,
  created BIGINT NOT NULL,
  PRIMARY KEY (id)
);

CREATE TABLE {vectors} (
  session BIGINT NOT NULL,
  embedder INTEGER NOT NULL,
  seq BIGINT NOT NULL,
  upto BIGINT NOT NULL,
  shard SMALLINT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (session, embedder, seq, shard)
);

CREATE TABLE {pairs} (
  session BIGINT NOT NULL,
  pair BIGINT NOT NULL,
  owner BIGINT NOT NULL,
  shard SMALLINT NOT NULL,
  PRIMARY KEY (session, pair, shard)
);

CREATE INDEX onrecord_pairs_by_pair ON {pairs} (pair, owner, session);

CREATE TABLE {dictionaries} (
  id INTEGER NOT NULL,
  in_use SMALLINT NOT NULL,
  created BIGINT NOT NULL,
  sources BYTEA NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (id)
);

CREATE TABLE {erased} (
  identity BYTEA NOT NULL,
  session BIGINT NOT NULL,
  epoch BIGINT NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (identity)
);

CREATE TABLE {namespaces} (
  id BIGINT GENERATED ALWAYS AS IDENTITY,
  shard SMALLINT NOT NULL,
  identity BYTEA NOT NULL,
  owner BIGINT NOT NULL,
  version BIGINT NOT NULL,
  tenant TEXT NOT NULL,
  "user" TEXT NOT NULL,
  agent TEXT NOT NULL,
  path BYTEA NOT NULL,
  PRIMARY KEY (id, shard),
  UNIQUE (identity, shard)
)
  WITH (fillfactor = 80);

CREATE INDEX onrecord_namespaces_by_owner ON {namespaces} (owner, path, id);

CREATE TABLE {items} (
  namespace BIGINT NOT NULL,
  shard SMALLINT NOT NULL,
  key TEXT COLLATE "C" NOT NULL,
  version BIGINT NOT NULL,
  created BIGINT NOT NULL,
  updated BIGINT NOT NULL,
  expires_at BIGINT,
  ttl BIGINT,
  token TEXT,
  fence BIGINT NOT NULL,
  embedder INTEGER,
  meant BIGINT,
  body BYTEA NOT NULL,
  meaning BYTEA,
  PRIMARY KEY (namespace, key, shard)
);

CREATE INDEX onrecord_items_by_expiry ON {items} (expires_at) WHERE expires_at IS NOT NULL;

CREATE INDEX onrecord_items_by_namespace_expiry ON {items} (namespace, expires_at) WHERE expires_at IS NOT NULL;

CREATE INDEX onrecord_items_by_version ON {items} (namespace, version);

CREATE TABLE {checkpoint_threads} (
  id BIGINT GENERATED ALWAYS AS IDENTITY,
  shard SMALLINT NOT NULL,
  identity BYTEA NOT NULL,
  owner BIGINT NOT NULL,
  live SMALLINT NOT NULL,
  epoch BIGINT NOT NULL,
  created BIGINT NOT NULL,
  last_active BIGINT NOT NULL,
  active_period BIGINT NOT NULL,
  expires_in BIGINT,
  held_until BIGINT,
  holder BYTEA,
  tenant TEXT NOT NULL,
  "user" TEXT NOT NULL,
  agent TEXT NOT NULL,
  key TEXT NOT NULL,
  about BYTEA,
  deleted_ids BYTEA,
  PRIMARY KEY (id, shard),
  UNIQUE (identity, shard)
)
  WITH (fillfactor = 80);

CREATE INDEX onrecord_checkpoint_threads_by_activity ON {checkpoint_threads} (active_period, id);

CREATE INDEX onrecord_checkpoint_threads_by_agent ON {checkpoint_threads} (agent, active_period, id) WHERE agent <> '';

CREATE INDEX onrecord_checkpoint_threads_by_owner ON {checkpoint_threads} (owner, active_period, id);

CREATE INDEX onrecord_checkpoint_threads_by_owner_agent ON {checkpoint_threads} (owner, agent, active_period, id) WHERE agent <> '';

CREATE INDEX onrecord_checkpoint_threads_by_tenant ON {checkpoint_threads} (tenant, active_period, id) WHERE tenant <> '';

CREATE INDEX onrecord_checkpoint_threads_by_tenant_agent ON {checkpoint_threads} (tenant, agent, active_period, id) WHERE tenant <> '' AND agent <> '';

CREATE TABLE {checkpoint_lists} (
  id BIGINT GENERATED ALWAYS AS IDENTITY,
  thread BIGINT NOT NULL,
  head BIGINT NOT NULL,
  shard SMALLINT NOT NULL,
  name BYTEA NOT NULL,
  PRIMARY KEY (id, shard)
)
  WITH (fillfactor = 80);

CREATE UNIQUE INDEX onrecord_checkpoint_lists_by_name ON {checkpoint_lists} (thread, name, shard);

CREATE TABLE {checkpoints} (
  list BIGINT NOT NULL,
  number BIGINT NOT NULL,
  shard SMALLINT NOT NULL,
  id BYTEA,
  parent BYTEA,
  run BYTEA,
  refs BYTEA,
  body BYTEA,
  new_values BYTEA,
  PRIMARY KEY (list, number, shard)
);

CREATE UNIQUE INDEX onrecord_checkpoints_by_id ON {checkpoints} (list, id, shard) WHERE id IS NOT NULL;

CREATE INDEX onrecord_checkpoints_by_run ON {checkpoints} (run) WHERE run IS NOT NULL;

CREATE TABLE {checkpoint_items} (
  list BIGINT NOT NULL,
  number BIGINT NOT NULL,
  items INTEGER NOT NULL,
  shard SMALLINT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (list, number, shard)
);

CREATE TABLE {checkpoint_writes} (
  number BIGINT GENERATED ALWAYS AS IDENTITY,
  list BIGINT NOT NULL,
  shard SMALLINT NOT NULL,
  id BYTEA NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (number, shard)
);

CREATE INDEX onrecord_checkpoint_writes_by_id ON {checkpoint_writes} (list, id);

CREATE TABLE {feeds} (
  id BIGINT GENERATED ALWAYS AS IDENTITY,
  identity BYTEA NOT NULL,
  name TEXT NOT NULL,
  named SMALLINT NOT NULL,
  tenant TEXT,
  "user" TEXT,
  agent TEXT,
  second BIGINT NOT NULL,
  session BIGINT NOT NULL,
  newest BIGINT NOT NULL,
  swept_second BIGINT NOT NULL,
  swept_session BIGINT NOT NULL,
  swept_at BIGINT NOT NULL,
  PRIMARY KEY (id),
  UNIQUE (identity)
)
  WITH (fillfactor = 80);

CREATE TABLE {feed_positions} (
  session BIGINT NOT NULL,
  feed BIGINT NOT NULL,
  epoch BIGINT NOT NULL,
  head BIGINT NOT NULL,
  lineage BIGINT NOT NULL,
  token BIGINT NOT NULL,
  gone SMALLINT NOT NULL,
  due BIGINT,
  holder BIGINT,
  shard SMALLINT NOT NULL,
  PRIMARY KEY (session, feed, shard)
);

CREATE INDEX onrecord_feed_positions_by_due ON {feed_positions} (feed, due) WHERE due IS NOT NULL;

CREATE TABLE {meta} (
  name TEXT NOT NULL,
  value BYTEA NOT NULL,
  PRIMARY KEY (name)
);

CREATE TABLE {counters} (
  id INTEGER NOT NULL,
  name TEXT NOT NULL,
  PRIMARY KEY (id),
  UNIQUE (name)
);

ALTER TABLE {segments} ALTER COLUMN body SET STORAGE EXTERNAL;
