CREATE TABLE public.onrecord_checkpoint_items (
    list bigint NOT NULL,
    number bigint NOT NULL,
    items integer NOT NULL,
    shard smallint NOT NULL,
    body bytea NOT NULL
);
CREATE TABLE public.onrecord_checkpoint_lists (
    id bigint NOT NULL,
    thread bigint NOT NULL,
    head bigint NOT NULL,
    shard smallint NOT NULL,
    name bytea NOT NULL
)
WITH (fillfactor='80');
ALTER TABLE public.onrecord_checkpoint_lists ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.onrecord_checkpoint_lists_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.onrecord_checkpoint_threads (
    id bigint NOT NULL,
    shard smallint NOT NULL,
    identity bytea NOT NULL,
    owner bigint NOT NULL,
    live smallint NOT NULL,
    epoch bigint NOT NULL,
    created bigint NOT NULL,
    last_active bigint NOT NULL,
    active_period bigint NOT NULL,
    expires_in bigint,
    held_until bigint,
    holder bytea,
    tenant text NOT NULL,
    "user" text NOT NULL,
    agent text NOT NULL,
    key text NOT NULL,
    about bytea,
    deleted_ids bytea
)
WITH (fillfactor='80');
ALTER TABLE public.onrecord_checkpoint_threads ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.onrecord_checkpoint_threads_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.onrecord_checkpoint_writes (
    number bigint NOT NULL,
    list bigint NOT NULL,
    shard smallint NOT NULL,
    id bytea NOT NULL,
    body bytea NOT NULL
);
ALTER TABLE public.onrecord_checkpoint_writes ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.onrecord_checkpoint_writes_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.onrecord_checkpoints (
    list bigint NOT NULL,
    number bigint NOT NULL,
    shard smallint NOT NULL,
    id bytea,
    parent bytea,
    run bytea,
    refs bytea,
    body bytea,
    new_values bytea
);
CREATE TABLE public.onrecord_counters (
    id integer NOT NULL,
    name text NOT NULL
);
CREATE TABLE public.onrecord_dictionaries (
    id integer NOT NULL,
    in_use smallint NOT NULL,
    created bigint NOT NULL,
    sources bytea NOT NULL,
    body bytea NOT NULL
);
CREATE TABLE public.onrecord_embedders (
    id integer NOT NULL,
    identity bytea NOT NULL,
    name text NOT NULL,
    dimensions integer NOT NULL,
    created bigint NOT NULL
);
CREATE TABLE public.onrecord_erased (
    identity bytea NOT NULL,
    session bigint NOT NULL,
    epoch bigint NOT NULL,
    at bigint NOT NULL
);
CREATE TABLE public.onrecord_feed_positions (
    session bigint NOT NULL,
    feed bigint NOT NULL,
    epoch bigint NOT NULL,
    head bigint NOT NULL,
    lineage bigint NOT NULL,
    token bigint NOT NULL,
    gone smallint NOT NULL,
    due bigint,
    holder bigint,
    shard smallint NOT NULL
);
CREATE TABLE public.onrecord_feeds (
    id bigint NOT NULL,
    identity bytea NOT NULL,
    name text NOT NULL,
    named smallint NOT NULL,
    tenant text,
    "user" text,
    agent text,
    second bigint NOT NULL,
    session bigint NOT NULL,
    newest bigint NOT NULL,
    swept_second bigint NOT NULL,
    swept_session bigint NOT NULL,
    swept_at bigint NOT NULL
)
WITH (fillfactor='80');
ALTER TABLE public.onrecord_feeds ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.onrecord_feeds_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.onrecord_items (
    namespace bigint NOT NULL,
    shard smallint NOT NULL,
    key text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    expires_at bigint,
    ttl bigint,
    token text,
    fence bigint NOT NULL,
    embedder integer,
    meant bigint,
    body bytea NOT NULL,
    meaning bytea
);
CREATE TABLE public.onrecord_meta (
    name text NOT NULL,
    value bytea NOT NULL
);
CREATE TABLE public.onrecord_migrations (
    name text NOT NULL
);
CREATE TABLE public.onrecord_namespaces (
    id bigint NOT NULL,
    shard smallint NOT NULL,
    identity bytea NOT NULL,
    owner bigint NOT NULL,
    version bigint NOT NULL,
    tenant text NOT NULL,
    "user" text NOT NULL,
    agent text NOT NULL,
    path bytea NOT NULL
)
WITH (fillfactor='80');
ALTER TABLE public.onrecord_namespaces ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.onrecord_namespaces_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.onrecord_pairs (
    session bigint NOT NULL,
    pair bigint NOT NULL,
    owner bigint NOT NULL,
    shard smallint NOT NULL
);
CREATE TABLE public.onrecord_runs (
    session bigint NOT NULL,
    seq bigint NOT NULL,
    upto bigint NOT NULL,
    analyser smallint NOT NULL,
    shard smallint NOT NULL,
    terms bytea NOT NULL
);
CREATE TABLE public.onrecord_segments (
    session bigint NOT NULL,
    seq bigint NOT NULL,
    first bigint NOT NULL,
    messages integer NOT NULL,
    turns integer NOT NULL,
    tokens bigint NOT NULL,
    created_min bigint NOT NULL,
    created_max bigint NOT NULL,
    raw bigint NOT NULL,
    dictionary smallint,
    shard smallint NOT NULL,
    body bytea NOT NULL
)
WITH (toast_tuple_target='8160');
ALTER TABLE ONLY public.onrecord_segments ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE TABLE public.onrecord_sessions (
    id bigint NOT NULL,
    shard smallint NOT NULL,
    identity bytea NOT NULL,
    owner bigint NOT NULL,
    epoch bigint NOT NULL,
    cut_epoch bigint NOT NULL,
    head bigint NOT NULL,
    messages bigint NOT NULL,
    turns bigint NOT NULL,
    tokens bigint NOT NULL,
    input_tokens bigint DEFAULT 0 NOT NULL,
    output_tokens bigint DEFAULT 0 NOT NULL,
    cached_tokens bigint DEFAULT 0 NOT NULL,
    requests bigint DEFAULT 0 NOT NULL,
    created bigint NOT NULL,
    last_active bigint NOT NULL,
    active_period bigint NOT NULL,
    refused bigint,
    tenant text NOT NULL,
    "user" text NOT NULL,
    agent text NOT NULL,
    key text NOT NULL,
    about bytea,
    archived bytea,
    sealed bigint DEFAULT 0 NOT NULL,
    sealed_at bigint,
    expires_in bigint,
    fence bigint DEFAULT 0 NOT NULL,
    lineage bigint DEFAULT 0 NOT NULL,
    waits smallint DEFAULT 0 NOT NULL,
    maybe_open smallint DEFAULT 0 NOT NULL,
    held_until bigint,
    holder bytea
)
WITH (fillfactor='80');
ALTER TABLE public.onrecord_sessions ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.onrecord_sessions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.onrecord_tail (
    session bigint NOT NULL,
    seq bigint NOT NULL,
    created bigint NOT NULL,
    token bigint NOT NULL,
    epoch integer NOT NULL,
    tokens integer NOT NULL,
    counter smallint NOT NULL,
    opens_turn smallint NOT NULL,
    shard smallint NOT NULL,
    frame bytea,
    raw integer,
    dictionary smallint,
    id text
);
CREATE TABLE public.onrecord_vectors (
    session bigint NOT NULL,
    embedder integer NOT NULL,
    seq bigint NOT NULL,
    upto bigint NOT NULL,
    shard smallint NOT NULL,
    body bytea NOT NULL
);
INSERT INTO public.onrecord_counters VALUES (1, 'onrecord-estimate-1');
INSERT INTO public.onrecord_items VALUES (1, 1867, 'plan', 1796057626978551, 1796057626966892, 1796057626966892, NULL, NULL, NULL, 516960023033860549, NULL, NULL, '\x6100b0f9e6d29282a573696e6365c7270894ba323032362d31312d32305431323a33303a31352e31323334353600cb0000000000000000c0a470616972c70b019201cb4004000000000000aa7768617420746f20646f', NULL);
INSERT INTO public.onrecord_items VALUES (1, 1867, 'half', 1796057626978552, 1796057626994441, 1796057626994441, 27716057626997041, 25920000000000000, 'r1', 2932864248428204935, NULL, NULL, '\x6102fa5d4a9792b168616c6620612070616972201064383030c0', NULL);
INSERT INTO public.onrecord_meta VALUES ('store_id', '\x95c05b053037a46778eff34add3077a7');
INSERT INTO public.onrecord_meta VALUES ('cache_id', '\x0c80210b333f0588894cba6eae30f3eb');
INSERT INTO public.onrecord_meta VALUES ('cache', '\x6f6e2034363264373261373733336164303563');
INSERT INTO public.onrecord_migrations VALUES ('0001 tables');
INSERT INTO public.onrecord_namespaces OVERRIDING SYSTEM VALUE VALUES (1, 1867, '\xd9a2abd84b69f47137f36d92888bd0fda4c6acf2', -1266546727375894709, 1796057626978552, '', '', '', '\x00636c656172656400');
INSERT INTO public.onrecord_pairs VALUES (1, -8200433321449885188, 1225217022494355058, 11890);
INSERT INTO public.onrecord_pairs VALUES (1, 3630162716254671510, 1225217022494355058, 11890);
INSERT INTO public.onrecord_sessions OVERRIDING SYSTEM VALUE VALUES (1, 11890, '\x8e259e93227d0fc97acceb53cb678370ec9089b9', 1225217022494355058, 0, 0, 9, 9, 4, 660, 31, 7, 0, 1, 1796057626217379, 1796057626217379, 3507925, NULL, 'océan', 'ana', 'guide', 'everything', '\x0082a57469746c65af5765617468657220696e204c796f6ea86d6574616461746182a4706c616ea370726fa5736561747303', NULL, 0, NULL, NULL, 2358647866196326863, 2728412785462773155, 1, 1, NULL, NULL);
INSERT INTO public.onrecord_sessions OVERRIDING SYSTEM VALUE VALUES (2, 18718, '\x3d2361428fbca55dcb959491a259769abe7922b8', -8404161878206559970, 3, 3, 39, 38, 38, 231, 0, 0, 0, 0, 1796057626732837, 1796057626882060, 3507925, NULL, '', 'ana', '', 'edited', NULL, '\x0092920103920c0c', 0, NULL, NULL, 919580172062724790, 328849719728029381, 1, 1, NULL, NULL);
INSERT INTO public.onrecord_sessions OVERRIDING SYSTEM VALUE VALUES (3, 1867, '\x498cf6a73face1d2a8708521135be259528de117', -1266546727375894709, 1, 1, 0, 0, 0, 0, 5, 0, 0, 1, 1796057626900784, 1796057626930121, 3507925, NULL, '', '', '', 'cleared', NULL, NULL, 0, NULL, NULL, 51890822542493590, 778630463239983228, 0, 0, NULL, NULL);
INSERT INTO public.onrecord_sessions OVERRIDING SYSTEM VALUE VALUES (4, 4729, '\xecbbcc23c4abb95b524df0841452cd33047233d3', 3052842124960010873, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1796057627012526, 1796057627012526, 3507925, NULL, '''; DROP TABLE onrecord_sessions; --', '', '', 'untouched', '\x0081a57469746c65a5456d707479', NULL, 0, NULL, NULL, 3945773828049677970, 0, 0, 0, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (1, 1, 1796057626217379, 2728412785462773155, 0, 7, 1, 0, 11890, '\x0100bf560be592a673797374656d919300a942652062726965662e80', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (1, 2, 1795177815123456, 2728412785462773155, 0, 10, 1, 1, 11890, '\x01006dbf771e92a475736572919300b7486f77207761726d20697320697420696e204c796f6e3f80', NULL, NULL, 'mine-1');
INSERT INTO public.onrecord_tail VALUES (1, 3, 1796057626217379, 2728412785462773155, 0, 13, 1, 0, 11890, '\x010040a797d192a9617373697374616e74919506a77765617468657282a463697479a44c796f6ea46461797302a2633180', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (1, 4, 1796057626217379, 2728412785462773155, 0, 6, 1, 0, 11890, '\x01002331e52f94a4746f6f6c919507a26331919300a6323120c2b04380c280c0a26331', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (1, 5, 1796057626217379, 2728412785462773155, 0, 8, 1, 0, 11890, '\x01005092783896a9617373697374616e74919300ad497420697320323120c2b0432e80c0c082ac696e7075745f746f6b656e731fad6f75747075745f746f6b656e730784a47475726ea27431a47768656ec7270894ba323032362d31312d32305431323a33303a31352e31323334353600cb0000000000000000c0a470616972c70b019201cb4004000000000000a3626967c70905400000000000000000', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (1, 6, 1796057626217379, 2728412785462773155, 0, 260, 1, 1, 11890, '\x0100526cb8ee92a475736572919601c50100000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeffc0a9696d6167652f706e67c080', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (1, 7, 1796057626217379, 2728412785462773155, 0, 9, 1, 0, 11890, '\x0100468736f992a9617373697374616e74929405b44974206c6f6f6b73206c696b65206e6f6973652ec080940aa178a17981a17a01', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (1, 8, 1796057626217379, 2728412785462773155, 0, 13, 1, 1, 11890, '\x0102036a3bba92a475736572919300d92461204e554c20002c2068616c66206120706169722010643830302c20616e6420f09f988080', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (1, 9, 1796057626217379, 2728412785462773155, 0, 334, 1, 1, 11890, '\x0101174e720a603504650100340292a475736572919300da0528776f726473207468617420636f6d65206261636b2c208001007a28fff904', 1339, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 1, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x0100394d595392a475736572919300a6776f7264203180', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 2, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x0100fa1e747892a475736572919300a6776f7264203280', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 4, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x01007cb92e2e92a475736572919300a6776f7264203480', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 5, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x01003d88353792a475736572919300a6776f7264203580', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 6, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x0100fedb181c92a475736572919300a6776f7264203680', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 8, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x010070f69b8292a475736572919300a6776f7264203880', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 9, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x010031c7809b92a475736572919300a6776f7264203980', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 10, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x01001307529392a475736572919300a7776f726420313080', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 11, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x01005236498a92a475736572919300a7776f726420313180', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 12, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x0100916564a192a475736572919300a7776f726420313280', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 13, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x0100d0547fb892a475736572919300a7776f726420313380', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 14, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x010017c23ef792a475736572919300a7776f726420313480', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 15, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x010056f325ee92a475736572919300a7776f726420313580', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 16, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x010095a008c592a475736572919300a7776f726420313680', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 17, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x0100d49113dc92a475736572919300a7776f726420313780', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 18, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x01001b8d8b5b92a475736572919300a7776f726420313880', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 19, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x01005abc904292a475736572919300a7776f726420313980', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 20, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x01004ab9149192a475736572919300a7776f726420323080', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 21, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x01000b880f8892a475736572919300a7776f726420323180', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 22, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x0100c8db22a392a475736572919300a7776f726420323280', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 23, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x010089ea39ba92a475736572919300a7776f726420323380', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 24, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x01004e7c78f592a475736572919300a7776f726420323480', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 25, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x01000f4d63ec92a475736572919300a7776f726420323580', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 26, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x0100cc1e4ec792a475736572919300a7776f726420323680', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 27, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x01008d2f55de92a475736572919300a7776f726420323780', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 28, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x01004233cd5992a475736572919300a7776f726420323880', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 29, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x01000302d64092a475736572919300a7776f726420323980', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 30, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x01007dd3d69092a475736572919300a7776f726420333080', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 31, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x01003ce2cd8992a475736572919300a7776f726420333180', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 32, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x0100ffb1e0a292a475736572919300a7776f726420333280', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 33, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x0100be80fbbb92a475736572919300a7776f726420333380', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 34, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x01007916baf492a475736572919300a7776f726420333480', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 35, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x01003827a1ed92a475736572919300a7776f726420333580', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 36, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x0100fb748cc692a475736572919300a7776f726420333680', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 37, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x0100ba4597df92a475736572919300a7776f726420333780', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 38, 1796057626732837, 3961583265151904452, 0, 6, 1, 1, 18718, '\x010075590f5892a475736572919300a7776f726420333880', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 3, 1796057626732837, 3961583265151904452, 0, 7, 1, 1, 18718, '\x0100fa64172692a475736572919300ac616e6f7468657220776f726480', NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 7, 1796057626732837, 3961583265151904452, 0, 0, 1, 0, 18718, NULL, NULL, NULL, NULL);
INSERT INTO public.onrecord_tail VALUES (2, 39, 1795177815123456, 328849719728029381, 3, 8, 1, 1, 18718, '\x0100cb0e609892a475736572919300b061667465722074686520726577696e6480', NULL, NULL, 'mine-2');
SELECT pg_catalog.setval('public.onrecord_checkpoint_lists_id_seq', 1, false);
SELECT pg_catalog.setval('public.onrecord_checkpoint_threads_id_seq', 1, false);
SELECT pg_catalog.setval('public.onrecord_checkpoint_writes_number_seq', 1, false);
SELECT pg_catalog.setval('public.onrecord_feeds_id_seq', 1, false);
SELECT pg_catalog.setval('public.onrecord_namespaces_id_seq', 1, true);
SELECT pg_catalog.setval('public.onrecord_sessions_id_seq', 4, true);
ALTER TABLE ONLY public.onrecord_checkpoint_items
    ADD CONSTRAINT onrecord_checkpoint_items_pkey PRIMARY KEY (list, number, shard);
ALTER TABLE ONLY public.onrecord_checkpoint_lists
    ADD CONSTRAINT onrecord_checkpoint_lists_pkey PRIMARY KEY (id, shard);
ALTER TABLE ONLY public.onrecord_checkpoint_threads
    ADD CONSTRAINT onrecord_checkpoint_threads_identity_shard_key UNIQUE (identity, shard);
ALTER TABLE ONLY public.onrecord_checkpoint_threads
    ADD CONSTRAINT onrecord_checkpoint_threads_pkey PRIMARY KEY (id, shard);
ALTER TABLE ONLY public.onrecord_checkpoint_writes
    ADD CONSTRAINT onrecord_checkpoint_writes_pkey PRIMARY KEY (number, shard);
ALTER TABLE ONLY public.onrecord_checkpoints
    ADD CONSTRAINT onrecord_checkpoints_pkey PRIMARY KEY (list, number, shard);
ALTER TABLE ONLY public.onrecord_counters
    ADD CONSTRAINT onrecord_counters_name_key UNIQUE (name);
ALTER TABLE ONLY public.onrecord_counters
    ADD CONSTRAINT onrecord_counters_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.onrecord_dictionaries
    ADD CONSTRAINT onrecord_dictionaries_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.onrecord_embedders
    ADD CONSTRAINT onrecord_embedders_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.onrecord_erased
    ADD CONSTRAINT onrecord_erased_pkey PRIMARY KEY (identity);
ALTER TABLE ONLY public.onrecord_feed_positions
    ADD CONSTRAINT onrecord_feed_positions_pkey PRIMARY KEY (session, feed, shard);
ALTER TABLE ONLY public.onrecord_feeds
    ADD CONSTRAINT onrecord_feeds_identity_key UNIQUE (identity);
ALTER TABLE ONLY public.onrecord_feeds
    ADD CONSTRAINT onrecord_feeds_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.onrecord_items
    ADD CONSTRAINT onrecord_items_pkey PRIMARY KEY (namespace, key, shard);
ALTER TABLE ONLY public.onrecord_meta
    ADD CONSTRAINT onrecord_meta_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.onrecord_migrations
    ADD CONSTRAINT onrecord_migrations_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.onrecord_namespaces
    ADD CONSTRAINT onrecord_namespaces_identity_shard_key UNIQUE (identity, shard);
ALTER TABLE ONLY public.onrecord_namespaces
    ADD CONSTRAINT onrecord_namespaces_pkey PRIMARY KEY (id, shard);
ALTER TABLE ONLY public.onrecord_pairs
    ADD CONSTRAINT onrecord_pairs_pkey PRIMARY KEY (session, pair, shard);
ALTER TABLE ONLY public.onrecord_runs
    ADD CONSTRAINT onrecord_runs_pkey PRIMARY KEY (session, seq, shard);
ALTER TABLE ONLY public.onrecord_segments
    ADD CONSTRAINT onrecord_segments_pkey PRIMARY KEY (session, seq, shard);
ALTER TABLE ONLY public.onrecord_sessions
    ADD CONSTRAINT onrecord_sessions_identity_shard_key UNIQUE (identity, shard);
ALTER TABLE ONLY public.onrecord_sessions
    ADD CONSTRAINT onrecord_sessions_pkey PRIMARY KEY (id, shard);
ALTER TABLE ONLY public.onrecord_tail
    ADD CONSTRAINT onrecord_tail_pkey PRIMARY KEY (session, seq, shard);
ALTER TABLE ONLY public.onrecord_vectors
    ADD CONSTRAINT onrecord_vectors_pkey PRIMARY KEY (session, embedder, seq, shard);
CREATE UNIQUE INDEX onrecord_checkpoint_lists_by_name ON public.onrecord_checkpoint_lists USING btree (thread, name, shard);
CREATE INDEX onrecord_checkpoint_threads_by_activity ON public.onrecord_checkpoint_threads USING btree (active_period, id);
CREATE INDEX onrecord_checkpoint_threads_by_agent ON public.onrecord_checkpoint_threads USING btree (agent, active_period, id) WHERE (agent <> ''::text);
CREATE INDEX onrecord_checkpoint_threads_by_owner ON public.onrecord_checkpoint_threads USING btree (owner, active_period, id);
CREATE INDEX onrecord_checkpoint_threads_by_owner_agent ON public.onrecord_checkpoint_threads USING btree (owner, agent, active_period, id) WHERE (agent <> ''::text);
CREATE INDEX onrecord_checkpoint_threads_by_tenant ON public.onrecord_checkpoint_threads USING btree (tenant, active_period, id) WHERE (tenant <> ''::text);
CREATE INDEX onrecord_checkpoint_threads_by_tenant_agent ON public.onrecord_checkpoint_threads USING btree (tenant, agent, active_period, id) WHERE ((tenant <> ''::text) AND (agent <> ''::text));
CREATE INDEX onrecord_checkpoint_writes_by_id ON public.onrecord_checkpoint_writes USING btree (list, id);
CREATE UNIQUE INDEX onrecord_checkpoints_by_id ON public.onrecord_checkpoints USING btree (list, id, shard) WHERE (id IS NOT NULL);
CREATE INDEX onrecord_checkpoints_by_run ON public.onrecord_checkpoints USING btree (run) WHERE (run IS NOT NULL);
CREATE INDEX onrecord_feed_positions_by_due ON public.onrecord_feed_positions USING btree (feed, due) WHERE (due IS NOT NULL);
CREATE INDEX onrecord_items_by_expiry ON public.onrecord_items USING btree (expires_at) WHERE (expires_at IS NOT NULL);
CREATE INDEX onrecord_items_by_namespace_expiry ON public.onrecord_items USING btree (namespace, expires_at) WHERE (expires_at IS NOT NULL);
CREATE INDEX onrecord_items_by_version ON public.onrecord_items USING btree (namespace, version);
CREATE INDEX onrecord_namespaces_by_owner ON public.onrecord_namespaces USING btree (owner, path, id);
CREATE INDEX onrecord_pairs_by_pair ON public.onrecord_pairs USING btree (pair, owner, session);
CREATE INDEX onrecord_sessions_by_activity ON public.onrecord_sessions USING btree (active_period, id);
CREATE INDEX onrecord_sessions_by_agent ON public.onrecord_sessions USING btree (agent, active_period, id) WHERE (agent <> ''::text);
CREATE INDEX onrecord_sessions_by_expiry ON public.onrecord_sessions USING btree (((((active_period)::double precision * (512)::double precision) + ((expires_in / 1000000))::double precision)), id) WHERE (expires_in IS NOT NULL);
CREATE INDEX onrecord_sessions_by_maybe_open ON public.onrecord_sessions USING btree (owner, id) WHERE (maybe_open = 1);
CREATE INDEX onrecord_sessions_by_owner ON public.onrecord_sessions USING btree (owner, active_period, id);
CREATE INDEX onrecord_sessions_by_owner_agent ON public.onrecord_sessions USING btree (owner, agent, active_period, id) WHERE (agent <> ''::text);
CREATE INDEX onrecord_sessions_by_tenant ON public.onrecord_sessions USING btree (tenant, active_period, id) WHERE (tenant <> ''::text);
CREATE INDEX onrecord_sessions_by_tenant_agent ON public.onrecord_sessions USING btree (tenant, agent, active_period, id) WHERE ((tenant <> ''::text) AND (agent <> ''::text));
CREATE UNIQUE INDEX onrecord_tail_by_id ON public.onrecord_tail USING btree (session, id, shard) WHERE (id IS NOT NULL);
