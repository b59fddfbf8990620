CREATE TABLE {sessions} (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  identity BLOB NOT NULL,
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
  user TEXT NOT NULL,
  agent TEXT NOT NULL,
  "key" TEXT NOT NULL,
  about BLOB,
  archived BLOB,
  sealed BIGINT DEFAULT 0 NOT NULL,
  sealed_at BIGINT,
  expires_in BIGINT,
  fence BIGINT DEFAULT 0 NOT NULL,
  lineage BIGINT DEFAULT 0 NOT NULL,
  waits SMALLINT DEFAULT 0 NOT NULL,
  maybe_open SMALLINT DEFAULT 0 NOT NULL,
  held_until BIGINT,
  holder BLOB,
  UNIQUE (identity)
);

CREATE INDEX onrecord_sessions_by_activity ON {sessions} (active_period, id);

CREATE INDEX onrecord_sessions_by_agent ON {sessions} (agent, active_period, id) WHERE agent <> '';

CREATE INDEX onrecord_sessions_by_expiry ON {sessions} ((CAST(active_period AS DOUBLE PRECISION) * 512 + expires_in / 1000000), id) WHERE expires_in IS NOT NULL;

CREATE INDEX onrecord_sessions_by_maybe_open ON {sessions} (owner, id) WHERE maybe_open = 1;

CREATE INDEX onrecord_sessions_by_owner ON {sessions} (owner, active_period, id);

CREATE INDEX onrecord_sessions_by_owner_agent ON {sessions} (owner, agent, active_period, id) WHERE agent <> '';

CREATE INDEX onrecord_sessions_by_tenant ON {sessions} (tenant, active_period, id) WHERE tenant <> '';

CREATE INDEX onrecord_sessions_by_tenant_agent ON {sessions} (tenant, agent, active_period, id) WHERE tenant <> '' AND agent <> '';

CREATE TABLE {tail} (
  place INTEGER NOT NULL,
  session BIGINT NOT NULL GENERATED ALWAYS AS (place >> 32) VIRTUAL,
  seq BIGINT NOT NULL GENERATED ALWAYS AS (place & 4294967295) VIRTUAL,
  created BIGINT NOT NULL,
  token BIGINT NOT NULL,
  epoch INTEGER NOT NULL,
  tokens INTEGER NOT NULL,
  counter SMALLINT NOT NULL,
  opens_turn SMALLINT NOT NULL,
  frame BLOB,
  raw INTEGER,
  dictionary SMALLINT,
  id TEXT,
  PRIMARY KEY (place)
);

CREATE UNIQUE INDEX onrecord_tail_by_id ON {tail} (session, id) WHERE id IS NOT NULL;

CREATE TABLE {segments} (
  place INTEGER NOT NULL,
  session BIGINT NOT NULL GENERATED ALWAYS AS (place >> 32) VIRTUAL,
  seq BIGINT NOT NULL GENERATED ALWAYS AS (place & 4294967295) VIRTUAL,
  first BIGINT NOT NULL,
  messages INTEGER NOT NULL,
  turns INTEGER NOT NULL,
  tokens BIGINT NOT NULL,
  created_min BIGINT NOT NULL,
  created_max BIGINT NOT NULL,
  raw BIGINT NOT NULL,
  dictionary SMALLINT,
  body BLOB NOT NULL,
  PRIMARY KEY (place)
);

CREATE TABLE {runs} (
  place INTEGER NOT NULL,
  session BIGINT NOT NULL GENERATED ALWAYS AS (place >> 32) VIRTUAL,
  seq BIGINT NOT NULL GENERATED ALWAYS AS (place & 4294967295) VIRTUAL,
  upto BIGINT NOT NULL,
  analyser SMALLINT NOT NULL,
  terms BLOB NOT NULL,
  PRIMARY KEY (place)
);

CREATE TABLE {embedders} (
  id INTEGER NOT NULL,
  identity BLOB NOT NULL,
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
  body BLOB NOT NULL,
  PRIMARY KEY (session, embedder, seq)
)
  WITHOUT ROWID;

CREATE TABLE {pairs} (
  session BIGINT NOT NULL,
  pair BIGINT NOT NULL,
  owner BIGINT NOT NULL,
  PRIMARY KEY (session, pair)
)
  WITHOUT ROWID;

CREATE INDEX onrecord_pairs_by_pair ON {pairs} (pair, owner, session);

CREATE TABLE {dictionaries} (
  id INTEGER NOT NULL,
  in_use SMALLINT NOT NULL,
  created BIGINT NOT NULL,
  sources BLOB NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (id)
);

CREATE TABLE {erased} (
  identity BLOB NOT NULL,
  session BIGINT NOT NULL,
  epoch BIGINT NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (identity)
);

CREATE TABLE {namespaces} (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  identity BLOB NOT NULL,
  owner BIGINT NOT NULL,
  version BIGINT NOT NULL,
  tenant TEXT NOT NULL,
  user TEXT NOT NULL,
  agent TEXT NOT NULL,
  path BLOB NOT NULL,
  UNIQUE (identity)
);

CREATE INDEX onrecord_namespaces_by_owner ON {namespaces} (owner, path, id);

CREATE TABLE {items} (
  namespace BIGINT NOT NULL,
  "key" TEXT NOT NULL,
  version BIGINT NOT NULL,
  created BIGINT NOT NULL,
  updated BIGINT NOT NULL,
  expires_at BIGINT,
  ttl BIGINT,
  token TEXT,
  fence BIGINT NOT NULL,
  embedder INTEGER,
  meant BIGINT,
  body BLOB NOT NULL,
  meaning BLOB,
  PRIMARY KEY (namespace, "key")
)
  WITHOUT ROWID;

CREATE INDEX onrecord_items_by_expiry ON {items} (expires_at) WHERE expires_at IS NOT NULL;

CREATE INDEX onrecord_items_by_namespace_expiry ON {items} (namespace, expires_at) WHERE expires_at IS NOT NULL;

CREATE INDEX onrecord_items_by_version ON {items} (namespace, version);

CREATE TABLE {checkpoint_threads} (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  identity BLOB NOT NULL,
  owner BIGINT NOT NULL,
  live SMALLINT NOT NULL,
  epoch BIGINT NOT NULL,
  created BIGINT NOT NULL,
  last_active BIGINT NOT NULL,
  active_period BIGINT NOT NULL,
  expires_in BIGINT,
  held_until BIGINT,
  holder BLOB,
  tenant TEXT NOT NULL,
  user TEXT NOT NULL,
  agent TEXT NOT NULL,
  "key" TEXT NOT NULL,
  about BLOB,
  deleted_ids BLOB,
  UNIQUE (identity)
);

CREATE INDEX onrecord_checkpoint_threads_by_activity ON {checkpoint_threads} (active_period, id);

CREATE INDEX onrecord_checkpoint_threads_by_agent ON {checkpoint_threads} (agent, active_period, id) WHERE agent <> '';

CREATE INDEX onrecord_checkpoint_threads_by_owner ON {checkpoint_threads} (owner, active_period, id);

CREATE INDEX onrecord_checkpoint_threads_by_owner_agent ON {checkpoint_threads} (owner, agent, active_period, id) WHERE agent <> '';

CREATE INDEX onrecord_checkpoint_threads_by_tenant ON {checkpoint_threads} (tenant, active_period, id) WHERE tenant <> '';

CREATE INDEX onrecord_checkpoint_threads_by_tenant_agent ON {checkpoint_threads} (tenant, agent, active_period, id) WHERE tenant <> '' AND agent <> '';

CREATE TABLE {checkpoint_lists} (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  thread BIGINT NOT NULL,
  head BIGINT NOT NULL,
  name BLOB NOT NULL
);

CREATE UNIQUE INDEX onrecord_checkpoint_lists_by_name ON {checkpoint_lists} (thread, name);

CREATE TABLE {checkpoints} (
  place INTEGER NOT NULL,
  list BIGINT NOT NULL GENERATED ALWAYS AS (place >> 32) VIRTUAL,
  number BIGINT NOT NULL GENERATED ALWAYS AS (place & 4294967295) VIRTUAL,
  id BLOB,
  parent BLOB,
  run BLOB,
  refs BLOB,
  body BLOB,
  new_values BLOB,
  PRIMARY KEY (place)
);

CREATE UNIQUE INDEX onrecord_checkpoints_by_id ON {checkpoints} (list, id) WHERE id IS NOT NULL;

CREATE INDEX onrecord_checkpoints_by_run ON {checkpoints} (run) WHERE run IS NOT NULL;

CREATE TABLE {checkpoint_items} (
  place INTEGER NOT NULL,
  list BIGINT NOT NULL GENERATED ALWAYS AS (place >> 32) VIRTUAL,
  number BIGINT NOT NULL GENERATED ALWAYS AS (place & 4294967295) VIRTUAL,
  items INTEGER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (place)
);

CREATE TABLE {checkpoint_writes} (
  number INTEGER NOT NULL,
  list BIGINT NOT NULL,
  id BLOB NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (number)
);

CREATE INDEX onrecord_checkpoint_writes_by_id ON {checkpoint_writes} (list, id);

CREATE TABLE {feeds} (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  identity BLOB NOT NULL,
  name TEXT NOT NULL,
  named SMALLINT NOT NULL,
  tenant TEXT,
  user TEXT,
  agent TEXT,
  second BIGINT NOT NULL,
  session BIGINT NOT NULL,
  newest BIGINT NOT NULL,
  swept_second BIGINT NOT NULL,
  swept_session BIGINT NOT NULL,
  swept_at BIGINT NOT NULL,
  UNIQUE (identity)
);

CREATE TABLE {feed_positions} (
  place INTEGER NOT NULL,
  session BIGINT NOT NULL GENERATED ALWAYS AS (place >> 32) VIRTUAL,
  feed BIGINT NOT NULL GENERATED ALWAYS AS (place & 4294967295) VIRTUAL,
  epoch BIGINT NOT NULL,
  head BIGINT NOT NULL,
  lineage BIGINT NOT NULL,
  token BIGINT NOT NULL,
  gone SMALLINT NOT NULL,
  due BIGINT,
  holder BIGINT,
  PRIMARY KEY (place)
);

CREATE INDEX onrecord_feed_positions_by_due ON {feed_positions} (feed, due) WHERE due IS NOT NULL;

CREATE TABLE {meta} (
  name TEXT NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (name)
);

CREATE TABLE {counters} (
  id INTEGER NOT NULL,
  name TEXT NOT NULL,
  PRIMARY KEY (id),
  UNIQUE (name)
);
