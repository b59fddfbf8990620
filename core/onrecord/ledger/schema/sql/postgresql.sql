CREATE TABLE {sessions} (
  id BIGINT GENERATED ALWAYS AS IDENTITY,
  identity BYTEA NOT NULL,
  owner BIGINT NOT NULL,
  epoch BIGINT NOT NULL,
  cut_epoch BIGINT NOT NULL,
  head BIGINT NOT NULL,
  messages BIGINT NOT NULL,
  turns BIGINT NOT NULL,
  tokens BIGINT NOT NULL,
  created BIGINT NOT NULL,
  last_active BIGINT NOT NULL,
  active_second BIGINT NOT NULL,
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
  PRIMARY KEY (id),
  UNIQUE (identity)
)
  WITH (fillfactor = 80);

CREATE INDEX onrecord_sessions_by_activity ON {sessions} (active_second, id);

CREATE INDEX onrecord_sessions_by_owner ON {sessions} (owner, active_second, id);

CREATE TABLE {tail} (
  place BIGINT NOT NULL,
  created BIGINT NOT NULL,
  token BIGINT NOT NULL,
  born INTEGER NOT NULL,
  tokens INTEGER NOT NULL,
  counter SMALLINT NOT NULL,
  opens_turn SMALLINT NOT NULL,
  frame BYTEA,
  id TEXT,
  PRIMARY KEY (place)
);

CREATE UNIQUE INDEX onrecord_tail_by_id ON {tail} ((place >> 32), id) WHERE id IS NOT NULL;

CREATE TABLE {segments} (
  place BIGINT NOT NULL,
  first BIGINT NOT NULL,
  messages INTEGER NOT NULL,
  turns INTEGER NOT NULL,
  tokens BIGINT NOT NULL,
  raw BIGINT NOT NULL,
  dictionary SMALLINT,
  body BYTEA NOT NULL,
  PRIMARY KEY (place)
)
  WITH (toast_tuple_target = 8160);

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

CREATE TABLE {checkpoint_threads} (
  id BIGINT GENERATED ALWAYS AS IDENTITY,
  identity BYTEA NOT NULL,
  owner BIGINT NOT NULL,
  live SMALLINT NOT NULL,
  epoch BIGINT NOT NULL,
  created BIGINT NOT NULL,
  last_active BIGINT NOT NULL,
  active_second BIGINT NOT NULL,
  expires_in BIGINT,
  held_until BIGINT,
  holder BYTEA,
  tenant TEXT NOT NULL,
  "user" TEXT NOT NULL,
  agent TEXT NOT NULL,
  key TEXT NOT NULL,
  about BYTEA,
  gone BYTEA,
  PRIMARY KEY (id),
  UNIQUE (identity)
)
  WITH (fillfactor = 80);

CREATE INDEX onrecord_checkpoint_threads_by_activity ON {checkpoint_threads} (active_second, id);

CREATE INDEX onrecord_checkpoint_threads_by_owner ON {checkpoint_threads} (owner, active_second, id);

CREATE TABLE {checkpoint_strands} (
  id BIGINT GENERATED ALWAYS AS IDENTITY,
  thread BIGINT NOT NULL,
  head BIGINT NOT NULL,
  name BYTEA NOT NULL,
  PRIMARY KEY (id)
)
  WITH (fillfactor = 80);

CREATE UNIQUE INDEX onrecord_checkpoint_strands_by_name ON {checkpoint_strands} (thread, name);

CREATE TABLE {checkpoints} (
  place BIGINT NOT NULL,
  id BYTEA,
  parent BYTEA,
  run BYTEA,
  refs BYTEA,
  body BYTEA,
  held BYTEA,
  PRIMARY KEY (place)
);

CREATE UNIQUE INDEX onrecord_checkpoints_by_id ON {checkpoints} ((place >> 32), id) WHERE id IS NOT NULL;

CREATE INDEX onrecord_checkpoints_by_run ON {checkpoints} (run) WHERE run IS NOT NULL;

CREATE TABLE {checkpoint_items} (
  place BIGINT NOT NULL,
  items INTEGER NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (place)
);

CREATE TABLE {checkpoint_writes} (
  number BIGINT GENERATED ALWAYS AS IDENTITY,
  strand BIGINT NOT NULL,
  id BYTEA NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (number)
);

CREATE INDEX onrecord_checkpoint_writes_by_id ON {checkpoint_writes} (strand, id);

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
