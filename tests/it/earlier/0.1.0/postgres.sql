


SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';

SET default_table_access_method = heap;


CREATE TABLE public.application_uris (
    tenant text NOT NULL COLLATE pg_catalog."C",
    uri text NOT NULL COLLATE pg_catalog."C",
    application text NOT NULL COLLATE pg_catalog."C"
);



CREATE TABLE public.applications (
    tenant text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    body text NOT NULL COLLATE pg_catalog."C",
    revision bigint NOT NULL,
    tag bytea NOT NULL
);



CREATE TABLE public.audit (
    chain text NOT NULL COLLATE pg_catalog."C",
    seq bigint NOT NULL,
    last bigint NOT NULL,
    tenant text NOT NULL COLLATE pg_catalog."C",
    at bigint NOT NULL,
    revision bigint NOT NULL,
    total bigint NOT NULL,
    spool bigint NOT NULL,
    state bytea NOT NULL,
    hash text NOT NULL COLLATE pg_catalog."C",
    tag bytea NOT NULL,
    lines text NOT NULL COLLATE pg_catalog."C"
);



CREATE TABLE public.audit_start (
    chain text NOT NULL COLLATE pg_catalog."C",
    seq bigint NOT NULL,
    hash text NOT NULL COLLATE pg_catalog."C",
    total bigint NOT NULL,
    why text NOT NULL COLLATE pg_catalog."C",
    tag bytea NOT NULL
);



CREATE TABLE public.changes (
    revision bigint NOT NULL,
    ordinal bigint NOT NULL,
    tenant text NOT NULL COLLATE pg_catalog."C",
    at bigint NOT NULL,
    kind text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    parent text COLLATE pg_catalog."C",
    before_body text COLLATE pg_catalog."C",
    after_body text COLLATE pg_catalog."C",
    digest bytea
);



CREATE TABLE public.head (
    id bigint NOT NULL,
    revision bigint NOT NULL,
    seen bigint NOT NULL,
    before_state bytea NOT NULL,
    state bytea NOT NULL,
    tag bytea NOT NULL
);



CREATE TABLE public.leases (
    name text NOT NULL COLLATE pg_catalog."C",
    holder text NOT NULL COLLATE pg_catalog."C",
    until bigint NOT NULL
);



CREATE TABLE public.machines (
    tenant text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    body text NOT NULL COLLATE pg_catalog."C",
    revision bigint NOT NULL,
    tag bytea NOT NULL
);



CREATE TABLE public.one_time (
    tenant text NOT NULL COLLATE pg_catalog."C",
    purpose text NOT NULL COLLATE pg_catalog."C",
    hash text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    expires bigint NOT NULL,
    used_at bigint,
    body text NOT NULL COLLATE pg_catalog."C",
    revision bigint NOT NULL,
    tag bytea NOT NULL
);



CREATE TABLE public.resource_groups (
    tenant text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    body text NOT NULL COLLATE pg_catalog."C",
    revision bigint NOT NULL,
    tag bytea NOT NULL
);



CREATE TABLE public.role_assignments (
    tenant text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    body text NOT NULL COLLATE pg_catalog."C",
    revision bigint NOT NULL,
    tag bytea NOT NULL
);



CREATE TABLE public.role_definitions (
    tenant text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    body text NOT NULL COLLATE pg_catalog."C",
    revision bigint NOT NULL,
    tag bytea NOT NULL
);



CREATE TABLE public.schema_migrations (
    version bigint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    checksum bytea NOT NULL
);



CREATE TABLE public.secret_versions (
    tenant text NOT NULL COLLATE pg_catalog."C",
    vault text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    version text NOT NULL COLLATE pg_catalog."C",
    ordinal bigint NOT NULL,
    content_type text COLLATE pg_catalog."C",
    tags text NOT NULL COLLATE pg_catalog."C",
    enabled bigint NOT NULL,
    nbf bigint,
    exp bigint,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    wrapped_key bytea NOT NULL,
    sealed_value bytea NOT NULL,
    sealed_hash bytea NOT NULL,
    revision bigint NOT NULL,
    tag bytea NOT NULL
);



CREATE TABLE public.secrets (
    tenant text NOT NULL COLLATE pg_catalog."C",
    vault text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    written text NOT NULL COLLATE pg_catalog."C",
    latest text NOT NULL COLLATE pg_catalog."C",
    deleted bigint,
    purge_at bigint,
    revision bigint NOT NULL,
    tag bytea NOT NULL
);



CREATE TABLE public.service_principals (
    tenant text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    client_id text NOT NULL COLLATE pg_catalog."C",
    body text NOT NULL COLLATE pg_catalog."C",
    revision bigint NOT NULL,
    tag bytea NOT NULL
);



CREATE TABLE public.signing_keys (
    tenant text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    body text NOT NULL COLLATE pg_catalog."C",
    revision bigint NOT NULL,
    tag bytea NOT NULL
);



CREATE TABLE public.subscriptions (
    tenant text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    subscription text NOT NULL COLLATE pg_catalog."C",
    body text NOT NULL COLLATE pg_catalog."C",
    revision bigint NOT NULL,
    tag bytea NOT NULL
);



CREATE TABLE public.tenants (
    tenant text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    domain text NOT NULL COLLATE pg_catalog."C",
    body text NOT NULL COLLATE pg_catalog."C",
    revision bigint NOT NULL,
    tag bytea NOT NULL
);



CREATE TABLE public.vaults (
    tenant text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    body text NOT NULL COLLATE pg_catalog."C",
    revision bigint NOT NULL,
    tag bytea NOT NULL
);






INSERT INTO public.applications VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', 'fc2b3bb3-8cc4-469f-9660-5c605ba21194', '{"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","client_id":"fc2b3bb3-8cc4-469f-9660-5c605ba21194","object_id":"075f5cfb-9e85-499e-bc02-33d2b93be078","display_name":"Administrator","identifier_uris":[],"token_version":"V1","passwords":[{"key_id":"7c1a9f80-caf0-4e69-a391-13753e5a50b4","display_name":"Administrator","hint":"U6F","check":3946347408,"start":1795847213,"end":1858919213,"hash":"$argon2id$v=19$m=19456,t=2,p=1$Nv5NTGg49idnsoBETHUGyw$Gia4paT/nyppBCXtnnsZQ859rN1bO8j/Kf2GTXE2Deo"}],"keys":[]}', 1, '\xc4f001e9ae9d9e57f5a7f9017e2e0396713663e3f5ee5a7d9a29f2446160c0f7');



INSERT INTO public.audit VALUES ('26e4574f4775400ab95cb6d9dd095efb', 1, 1, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847213, 1, 6960, 0, '\x4b0172c08fd9f807330441c8508846d29dd24bd48236a9f719bdf192be2bb97a', 'f1452ed23c8b9c04958301670b4f7d3253f450b99d28d571234997dca4fc7eec', '\xef066c692085d38ec160b494d035e3ab95e2e291bac79173811c55cee79c0141', '{"at":1795847213,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"system:denizen init","request_id":"2b48da9c-8913-4c10-9081-4fe40374a66b","action":"Denizen.Directory/tenants/write","outcome":"allowed","target":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","because":"denizen init","revision":1,"detail":{"administrator":{"clientId":"fc2b3bb3-8cc4-469f-9660-5c605ba21194","objectId":"ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1"},"resourceGroup":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers","vault":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers/providers/Microsoft.KeyVault/vaults/main"}}
');
INSERT INTO public.audit VALUES ('26e4574f4775400ab95cb6d9dd095efb', 2, 2, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847213, 2, 11365, 0, '\x156f6b44a8a16641f937e58880035c6f5fac0416013259db679828a10659e34f', '7d6e745932131d080c2ea3d75903d84b5365f9989ed6dc80a310e0e5f2db368f', '\x8d5d7c725a8b4a334cd1f1511283e6e9889902a8efe20de37d199d88893038ff', '{"at":1795847213,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"system:denizen init","request_id":"929eb101-2a47-4aa2-abab-e1e352ffd61b","action":"Denizen.Directory/tenants/signingKeys/write","outcome":"allowed","target":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","because":"denizen init","revision":2,"detail":{"forgotten":"","written":"4R0TWMwQrHMN_9EIlumvc4z1yu8 nNDwEtqR_eX2iqGlKsYCLeJp6J0"}}
');
INSERT INTO public.audit VALUES ('26e4574f4775400ab95cb6d9dd095efb', 3, 3, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847213, 3, 12885, 0, '\xa8afe797720359126990fbfdf637592c82b71ea74ebf4ce919c976fbe46a9b91', 'dac78bdbcee85ee79d03751eedec26ebee667e6980aa9708ad74c6158289d59e', '\xfc72763478500e460744951b815c465e6decb2f66eff5e781140df2d6266f7af', '{"at":1795847213,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"system:denizen role assignment create","request_id":"4750a2f9-8dc8-4b70-996e-37bfc25a32c1","action":"Microsoft.Authorization/roleAssignments/write","outcome":"allowed","target":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32","because":"denizen role assignment create","revision":3}
');
INSERT INTO public.audit VALUES ('26e4574f4775400ab95cb6d9dd095efb', 4, 4, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847213, 3, 13708, 547, '\xa8afe797720359126990fbfdf637592c82b71ea74ebf4ce919c976fbe46a9b91', '2e670d3b1340a517681a44effb7e2e51e3131ac3dd45271ada1e99571fceb158', '\x2e27f7c8b2ef243f0af6a471505d2ed80265e706e8a2474d2d6ae0618bfacf20', '{"at":1795847213,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"client:fc2b3bb3-8cc4-469f-9660-5c605ba21194","request_id":"543970ea-c810-4734-b512-2b250959e6b0","address":"127.0.0.1","action":"Denizen.Directory/accessTokens/issue","outcome":"allowed","target":"https://vault.azure.net","because":"credential 7c1a9f80-caf0-4e69-a391-13753e5a50b4","detail":{"exp":1795852514,"kid":"4R0TWMwQrHMN_9EIlumvc4z1yu8","principal":"ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","uti":"ZYK34O-ptO0wjImURFopeQ"}}
');
INSERT INTO public.audit VALUES ('26e4574f4775400ab95cb6d9dd095efb', 5, 5, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847213, 4, 15833, 547, '\x6d693be96583a8d1e029712ef1fdedc8fe891d2746bcf7be2639f23d4c6a8c17', 'e500dc4d9bfcfead75080f409e1b0da3ecaf7307c2352bab54a35ccd19593591', '\xf48a1a173e8f4ae9e12c64848c12b4cc51f384b6f67b1ce3286f00d76247e8b6', '{"at":1795847213,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"principal:ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","request_id":"dc74eda8-2eb6-4fc9-a83b-1fd2a61d02c1","address":"127.0.0.1","action":"Microsoft.KeyVault/vaults/secrets/setSecret/action","outcome":"allowed","target":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers/providers/Microsoft.KeyVault/vaults/main/secrets/kept/64299747d55c967415fdc632ea862adf","because":"role ''Key Vault Secrets Officer'' by assignment 34b69319-da3b-4c1c-9c25-7618b1de4b5e","revision":4}
');
INSERT INTO public.audit VALUES ('26e4574f4775400ab95cb6d9dd095efb', 6, 6, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847213, 5, 17951, 547, '\x3ed5d18d712031c5903ebb9cae5adc807e10a91ece5f4e449745dc3a30b790f7', '51f6be5205882a62dee05a6b9b05a9cf91c8fcf180e84b90fecd3ab5d6974257', '\xfe410a37673d4144e8132e088b34c4d263202ac6f97b833392b70ff793952630', '{"at":1795847213,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"principal:ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","request_id":"dc74eda8-2eb6-4fc9-a83b-1fd2a61d02c2","address":"127.0.0.1","action":"Microsoft.KeyVault/vaults/secrets/setSecret/action","outcome":"allowed","target":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers/providers/Microsoft.KeyVault/vaults/main/secrets/gone/87f1f4e0cae2833c8499306208b5d6bc","because":"role ''Key Vault Secrets Officer'' by assignment 34b69319-da3b-4c1c-9c25-7618b1de4b5e","revision":5}
');
INSERT INTO public.audit VALUES ('26e4574f4775400ab95cb6d9dd095efb', 7, 7, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847213, 6, 19433, 547, '\xc15a6ac74731338e0d5df7740c2fc0c914d05631b2573c7173d8cd5f355cb4cb', 'ba9fdd8702c0801efdbc38fd49b74aa0f0ab5eb210f3e6b1c2f39c2f1067cabc', '\x5a7c42534b81db26d3b8c8fd104933c9b7c2cf9fb51b22ea0b3db93a12752524', '{"at":1795847213,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"principal:ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","request_id":"dc74eda8-2eb6-4fc9-a83b-1fd2a61d02c3","address":"127.0.0.1","action":"Microsoft.KeyVault/vaults/secrets/delete","outcome":"allowed","target":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers/providers/Microsoft.KeyVault/vaults/main/secrets/gone","because":"role ''Key Vault Secrets Officer'' by assignment 34b69319-da3b-4c1c-9c25-7618b1de4b5e","revision":6}
');
INSERT INTO public.audit VALUES ('26e4574f4775400ab95cb6d9dd095efb', 8, 8, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847213, 7, 20873, 547, '\x788f8180cf2cc952c49a67bbc168147f5fde9515bcea28717ca839d75a6622f3', '76bf6d894dd131c15d149387bb25e97c5ed2749bf3103c9c4afb4150be10922f', '\x9cf29f5c789913e4d122146a306b91db4cdf34758804999135c156c7bd0e6621', '{"at":1795847213,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"system:denizen join-token create","request_id":"7c5ec601-ffb8-4021-8edc-62514afea596","action":"Denizen.Node/joinTokens/write","outcome":"allowed","target":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers","because":"denizen join-token create","revision":7}
');
INSERT INTO public.audit VALUES ('26e4574f4775400ab95cb6d9dd095efb', 9, 9, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 8, 24894, 547, '\xe1993e2c82a3c7833a2b9bc150be03818fd5db1d6b618d9b920ad5324fb003d7', '48518179a8fa1bcc071e9643af6b2c543cc193f222eb051c6cad5bc11327575b', '\xa403ca8fc1dea480479e5d3a7d0511c1211fb8531b86991be47b373616074a38', '{"at":1795847214,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"join-token:33ea9138-8070-496e-8cb1-a706043aa334","request_id":"0762dfa4-7d3d-4eae-b5d2-6858d9525a05","address":"127.0.0.1","action":"Microsoft.HybridCompute/machines/write","outcome":"allowed","target":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers/providers/Microsoft.HybridCompute/machines/web-1","because":"join token 33ea9138-8070-496e-8cb1-a706043aa334","revision":8}
');
INSERT INTO public.audit VALUES ('26e4574f4775400ab95cb6d9dd095efb', 10, 10, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 9, 26414, 547, '\x47068a38b64cc7d329d9d0cc61d8ba2859ba7cfcd798c68f89c9c28606c5ffb2', 'f8ecf48932366ef8187e2fde074eb00d940061b1eaa2afd5b511ac941b256eb1', '\xdfd734a99afb4ddc7f8052b60809a464349c6ece1011a5c3a4c7fbea7a6d146e', '{"at":1795847214,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"system:denizen role assignment create","request_id":"9cb80fd3-29ca-46a5-980d-8c2d1d6587eb","action":"Microsoft.Authorization/roleAssignments/write","outcome":"allowed","target":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32","because":"denizen role assignment create","revision":9}
');
INSERT INTO public.audit VALUES ('26e4574f4775400ab95cb6d9dd095efb', 11, 11, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 10, 27855, 547, '\x92ab31cac6529d35e3080fcc1c3746ded767232309d95b0ccff2616da10c26aa', '8a2fd671bc7d602e72f8f3cb75637c1cfbf129bdbebdb19358c9d7880fb5fbe3', '\x1d9885cbaea507cbe87434dcf2b42170a3a99e4174d2eca66f79a1f1c27710a3', '{"at":1795847214,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"system:denizen join-token create","request_id":"f728dcc3-f39c-4053-8c67-2f97ce0f8a3c","action":"Denizen.Node/joinTokens/write","outcome":"allowed","target":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers","because":"denizen join-token create","revision":10}
');
INSERT INTO public.audit VALUES ('26e4574f4775400ab95cb6d9dd095efb', 12, 12, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 11, 36828, 547, '\x1258571edc051cbb289135f87e2bdc5fa273f4eb0a3761e7165084948450411f', '71bb433e0c1909d5b39f447798cac1abf5766780d30e98480ef924e51f997fd3', '\x489ce04e0637f44803b922ef194e04366dc6d5956b49f3c37934668507f9e131', '{"at":1795847214,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"system:denizen signing-key rotate","request_id":"04b179b5-66c5-4754-b808-4ec24182490e","action":"Denizen.Directory/tenants/signingKeys/write","outcome":"allowed","target":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","because":"denizen signing-key rotate","revision":11,"detail":{"forgotten":"","written":"4R0TWMwQrHMN_9EIlumvc4z1yu8 nNDwEtqR_eX2iqGlKsYCLeJp6J0 WGDdREpGdg5Tln1kC0kKKYLumJw"}}
');
INSERT INTO public.audit VALUES ('26e4574f4775400ab95cb6d9dd095efb', 13, 13, '00000000-0000-0000-0000-000000000000', 1795847214, 11, 37439, 882, '\x1258571edc051cbb289135f87e2bdc5fa273f4eb0a3761e7165084948450411f', '126ede27ca52667cd2e1799536ac4681af2fcd132e8f1e597f520735314cb0e6', '\xe84e755d7412bf1bc2bdb30b04b1538d97fa2fb5f2da479e28709522750e9d90', '{"at":1795847214,"tenant":"00000000-0000-0000-0000-000000000000","actor":"system:denizen backup create","request_id":"fa0fc6f6-00e7-4624-986e-25391e757a6f","action":"audit/backup","outcome":"allowed","target":"backups/d5d9fba4-3a1b-4f58-8c3b-848f6ef667aa","because":"denizen backup create"}
');
INSERT INTO public.audit VALUES ('26e4574f4775400ab95cb6d9dd095efb', 14, 14, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 11, 38262, 1429, '\x1258571edc051cbb289135f87e2bdc5fa273f4eb0a3761e7165084948450411f', '6981660d8a57b8bcf86b464edecf82f4a6e80197d45f786585906aff321d0e5d', '\x1e350f663c6bf16fbd1e82464f86cadcb503b9e9d694b84984d7fcb76350176d', '{"at":1795847214,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"client:fc2b3bb3-8cc4-469f-9660-5c605ba21194","request_id":"77500cc3-59e9-4be9-b570-5063c64472e0","address":"127.0.0.1","action":"Denizen.Directory/accessTokens/issue","outcome":"allowed","target":"https://vault.azure.net","because":"credential 7c1a9f80-caf0-4e69-a391-13753e5a50b4","detail":{"exp":1795851769,"kid":"nNDwEtqR_eX2iqGlKsYCLeJp6J0","principal":"ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","uti":"-hkFM6_qI2uuKKKeEe8w2A"}}
');
INSERT INTO public.audit VALUES ('26e4574f4775400ab95cb6d9dd095efb', 15, 15, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 12, 40377, 1429, '\x74cf03fe993ca29143fb95b23b90f8b4bdb294e847473de96b87452cb78932e5', 'dd5a36eeea69bf09c029c8e5af9fa30f91651298b32d85cdd9ab28b84ce1e43a', '\xc2303626d4a5a8cf42df4b03a5653fe657e2cd310e15f7a11db546202c973d41', '{"at":1795847214,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"principal:ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","request_id":"5d9c021e-afd1-423e-93f9-31718aaf2bdc","address":"127.0.0.1","action":"Microsoft.KeyVault/vaults/secrets/setSecret/action","outcome":"allowed","target":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers/providers/Microsoft.KeyVault/vaults/main/secrets/s0/c4413810b40b83ce4458a5fe7ffe9d96","because":"role ''Key Vault Secrets Officer'' by assignment 34b69319-da3b-4c1c-9c25-7618b1de4b5e","revision":12}
');
INSERT INTO public.audit VALUES ('26e4574f4775400ab95cb6d9dd095efb', 16, 16, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 13, 42492, 1429, '\x630eddf6d75809ce2f661b3c0f2aa74143b489d838609de67973dee9546ed72f', '458bebad69775f52b36c3748c5fafe7682fff3c37fab8f5b7ebaab43855b77f7', '\x66120981c21318b6ff6edfdf095d530804102fc38d6ca13fede7e0f49129ab10', '{"at":1795847214,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"principal:ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","request_id":"5d9c021e-afd1-423e-93f9-31718aaf2bde","address":"127.0.0.1","action":"Microsoft.KeyVault/vaults/secrets/setSecret/action","outcome":"allowed","target":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers/providers/Microsoft.KeyVault/vaults/main/secrets/s1/bf954715474f8d7ef7422a7173d5eae2","because":"role ''Key Vault Secrets Officer'' by assignment 34b69319-da3b-4c1c-9c25-7618b1de4b5e","revision":13}
');
INSERT INTO public.audit VALUES ('26e4574f4775400ab95cb6d9dd095efb', 17, 17, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 14, 44607, 1429, '\xc4f13749c140c1c2ffd4f2b01f97e4a7bbe959db62a8796a7b9f7f11f1a4f03f', '4b5b889a7022f721679060b695d2c5bbcd450bd7d8cf9ae3787fee25a6c2dc92', '\xe6f09aa57ce72310a150a95666e6c8ca87ba761425aa8e27de5cc828b74171a5', '{"at":1795847214,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"principal:ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","request_id":"5d9c021e-afd1-423e-93f9-31718aaf2be0","address":"127.0.0.1","action":"Microsoft.KeyVault/vaults/secrets/setSecret/action","outcome":"allowed","target":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers/providers/Microsoft.KeyVault/vaults/main/secrets/s2/31ea3e0b8924d32db204b9d8a549e122","because":"role ''Key Vault Secrets Officer'' by assignment 34b69319-da3b-4c1c-9c25-7618b1de4b5e","revision":14}
');
INSERT INTO public.audit VALUES ('26e4574f4775400ab95cb6d9dd095efb', 18, 18, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 15, 46722, 1429, '\x627a77837509cdcf7615ee259a29784a2307a0a60e6a7921e0faa459f9669a2d', '67cf1cd84a6598cc02ff2077291c341a12a45a523d1f24c6e273c919698fa82a', '\x1a03943b013ceeb321d77719fe280f739eba272b733ba67bbd1bdcf69e860bcc', '{"at":1795847214,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"principal:ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","request_id":"5d9c021e-afd1-423e-93f9-31718aaf2be2","address":"127.0.0.1","action":"Microsoft.KeyVault/vaults/secrets/setSecret/action","outcome":"allowed","target":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers/providers/Microsoft.KeyVault/vaults/main/secrets/s3/fd6ffde71137318dac088c8f399913de","because":"role ''Key Vault Secrets Officer'' by assignment 34b69319-da3b-4c1c-9c25-7618b1de4b5e","revision":15}
');
INSERT INTO public.audit VALUES ('26e4574f4775400ab95cb6d9dd095efb', 19, 19, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 16, 48837, 1429, '\x68d86d61fd46f8c8a1fbd87d2cc544ae1f9223c419fb95566815a4caa24a0df7', 'de92f10728be4b8b7e586b3c43e564b4ca492979d21b49cce25c1982b029ae83', '\x0188e630e1525a75f1f20afee0d680fcef7b98244ebe2b274ac8794a0647010b', '{"at":1795847214,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"principal:ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","request_id":"5d9c021e-afd1-423e-93f9-31718aaf2be4","address":"127.0.0.1","action":"Microsoft.KeyVault/vaults/secrets/setSecret/action","outcome":"allowed","target":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers/providers/Microsoft.KeyVault/vaults/main/secrets/s4/1584ee65256dc256dd0332cdba6e238d","because":"role ''Key Vault Secrets Officer'' by assignment 34b69319-da3b-4c1c-9c25-7618b1de4b5e","revision":16}
');
INSERT INTO public.audit VALUES ('26e4574f4775400ab95cb6d9dd095efb', 20, 20, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 17, 50952, 1429, '\x651360bbc2c962e466526095a5758ae15ad91bee588e0a54f6d9284fc2d5ac85', '9cb791e23a43babb11c4874c8f0abc34808fe35dc2683a66df1e44fe838412d3', '\xf2a52777178c28d7afb433ef40505a2bf03bc5c91f8b7daa0e780356d8e2dce5', '{"at":1795847214,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"principal:ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","request_id":"5d9c021e-afd1-423e-93f9-31718aaf2be6","address":"127.0.0.1","action":"Microsoft.KeyVault/vaults/secrets/setSecret/action","outcome":"allowed","target":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers/providers/Microsoft.KeyVault/vaults/main/secrets/s5/dd9a3c98aa2afb8320c74f7457c156f3","because":"role ''Key Vault Secrets Officer'' by assignment 34b69319-da3b-4c1c-9c25-7618b1de4b5e","revision":17}
');
INSERT INTO public.audit VALUES ('26e4574f4775400ab95cb6d9dd095efb', 21, 21, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 18, 53067, 1429, '\xab33fd880705d895738a3b5b1088d84f5848a0e055338eb87ba26e3d06ae6e81', 'e2e182d62a0d7b02f37ad07e72e21f82fa64246957e09c45bee4dcb47263cd98', '\xa710cb3c1babafd754c17f0671c116d5b7ec13521e24c262e9b8da47fe2193e2', '{"at":1795847214,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"principal:ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","request_id":"5d9c021e-afd1-423e-93f9-31718aaf2be8","address":"127.0.0.1","action":"Microsoft.KeyVault/vaults/secrets/setSecret/action","outcome":"allowed","target":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers/providers/Microsoft.KeyVault/vaults/main/secrets/s6/6de1f7cd33475c80354033446d7b69d2","because":"role ''Key Vault Secrets Officer'' by assignment 34b69319-da3b-4c1c-9c25-7618b1de4b5e","revision":18}
');
INSERT INTO public.audit VALUES ('26e4574f4775400ab95cb6d9dd095efb', 22, 22, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 19, 55182, 1429, '\x4f14cbeabc06a505a1f857274312f916d54ed8df4d3a0eef34ad0271e8560cbc', '8adf628080f134c8760dc518c3f50ea5768191f911e5dea944adb4adef941001', '\xf5b4f13344fb2206e9b030ad67934d0ee341be7a3a543f9971666e87fe4e0977', '{"at":1795847214,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"principal:ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","request_id":"5d9c021e-afd1-423e-93f9-31718aaf2bea","address":"127.0.0.1","action":"Microsoft.KeyVault/vaults/secrets/setSecret/action","outcome":"allowed","target":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers/providers/Microsoft.KeyVault/vaults/main/secrets/s7/b042f03e7bf9ee19e9e66474fde2f80d","because":"role ''Key Vault Secrets Officer'' by assignment 34b69319-da3b-4c1c-9c25-7618b1de4b5e","revision":19}
');
INSERT INTO public.audit VALUES ('26e4574f4775400ab95cb6d9dd095efb', 23, 30, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 19, 59870, 6149, '\x4f14cbeabc06a505a1f857274312f916d54ed8df4d3a0eef34ad0271e8560cbc', '7cddac88958188e71ea6493e9a3b009c4bb791327155137aafa188ee6c05b22f', '\x6f37bd038b81752c7b525669fce4b978b65d2d920f3ead04472ca236abaa70fc', '{"at":1795847214,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"principal:ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","request_id":"5d9c021e-afd1-423e-93f9-31718aaf2bdd","address":"127.0.0.1","action":"Microsoft.KeyVault/vaults/secrets/getSecret/action","outcome":"allowed","target":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers/providers/Microsoft.KeyVault/vaults/main/secrets/s0/c4413810b40b83ce4458a5fe7ffe9d96","because":"role ''Key Vault Secrets Officer'' by assignment 34b69319-da3b-4c1c-9c25-7618b1de4b5e"}
{"at":1795847214,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"principal:ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","request_id":"5d9c021e-afd1-423e-93f9-31718aaf2bdf","address":"127.0.0.1","action":"Microsoft.KeyVault/vaults/secrets/getSecret/action","outcome":"allowed","target":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers/providers/Microsoft.KeyVault/vaults/main/secrets/s1/bf954715474f8d7ef7422a7173d5eae2","because":"role ''Key Vault Secrets Officer'' by assignment 34b69319-da3b-4c1c-9c25-7618b1de4b5e"}
{"at":1795847214,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"principal:ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","request_id":"5d9c021e-afd1-423e-93f9-31718aaf2be1","address":"127.0.0.1","action":"Microsoft.KeyVault/vaults/secrets/getSecret/action","outcome":"allowed","target":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers/providers/Microsoft.KeyVault/vaults/main/secrets/s2/31ea3e0b8924d32db204b9d8a549e122","because":"role ''Key Vault Secrets Officer'' by assignment 34b69319-da3b-4c1c-9c25-7618b1de4b5e"}
{"at":1795847214,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"principal:ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","request_id":"5d9c021e-afd1-423e-93f9-31718aaf2be3","address":"127.0.0.1","action":"Microsoft.KeyVault/vaults/secrets/getSecret/action","outcome":"allowed","target":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers/providers/Microsoft.KeyVault/vaults/main/secrets/s3/fd6ffde71137318dac088c8f399913de","because":"role ''Key Vault Secrets Officer'' by assignment 34b69319-da3b-4c1c-9c25-7618b1de4b5e"}
{"at":1795847214,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"principal:ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","request_id":"5d9c021e-afd1-423e-93f9-31718aaf2be5","address":"127.0.0.1","action":"Microsoft.KeyVault/vaults/secrets/getSecret/action","outcome":"allowed","target":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers/providers/Microsoft.KeyVault/vaults/main/secrets/s4/1584ee65256dc256dd0332cdba6e238d","because":"role ''Key Vault Secrets Officer'' by assignment 34b69319-da3b-4c1c-9c25-7618b1de4b5e"}
{"at":1795847214,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"principal:ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","request_id":"5d9c021e-afd1-423e-93f9-31718aaf2be7","address":"127.0.0.1","action":"Microsoft.KeyVault/vaults/secrets/getSecret/action","outcome":"allowed","target":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers/providers/Microsoft.KeyVault/vaults/main/secrets/s5/dd9a3c98aa2afb8320c74f7457c156f3","because":"role ''Key Vault Secrets Officer'' by assignment 34b69319-da3b-4c1c-9c25-7618b1de4b5e"}
{"at":1795847214,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"principal:ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","request_id":"5d9c021e-afd1-423e-93f9-31718aaf2be9","address":"127.0.0.1","action":"Microsoft.KeyVault/vaults/secrets/getSecret/action","outcome":"allowed","target":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers/providers/Microsoft.KeyVault/vaults/main/secrets/s6/6de1f7cd33475c80354033446d7b69d2","because":"role ''Key Vault Secrets Officer'' by assignment 34b69319-da3b-4c1c-9c25-7618b1de4b5e"}
{"at":1795847214,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","actor":"principal:ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","request_id":"5d9c021e-afd1-423e-93f9-31718aaf2beb","address":"127.0.0.1","action":"Microsoft.KeyVault/vaults/secrets/getSecret/action","outcome":"allowed","target":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers/providers/Microsoft.KeyVault/vaults/main/secrets/s7/b042f03e7bf9ee19e9e66474fde2f80d","because":"role ''Key Vault Secrets Officer'' by assignment 34b69319-da3b-4c1c-9c25-7618b1de4b5e"}
');
INSERT INTO public.audit VALUES ('26e4574f4775400ab95cb6d9dd095efb', 31, 31, '00000000-0000-0000-0000-000000000000', 1795847215, 19, 60670, 6149, '\x4f14cbeabc06a505a1f857274312f916d54ed8df4d3a0eef34ad0271e8560cbc', 'dcddda8e1863e3b92965c2e402dd20e0809f4d6530a4fd5561d6835502766a28', '\x3af0d59a75991474fe0d6002f2ac582cf725c27701574f0eda820b5a30a7c530', '{"at":1795847215,"tenant":"00000000-0000-0000-0000-000000000000","actor":"system:denizen store copy","request_id":"a5bcb297-3d79-4633-b0cc-ae5be8ee1bca","action":"audit/restore","outcome":"allowed","target":"audit","because":"everything was copied from sqlite at revision 19","detail":{"backup":"e430bee2-41c3-41b0-a8ca-a0fe1630f9b8","given_up":null,"hash":"7cddac88958188e71ea6493e9a3b009c4bb791327155137aafa188ee6c05b22f","revision":19,"seq":30,"taken":"2026-11-28T06:26:55Z"}}
');






INSERT INTO public.changes VALUES (1, 0, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847213, 'tenant', '113b75a9-92a0-4dac-83fb-7371ef7a68e5', NULL, NULL, '{"created":1795847213,"display_name":"tenant.denizen.test","domain":"tenant.denizen.test","id":"113b75a9-92a0-4dac-83fb-7371ef7a68e5"}', '\xe2d35b335d05c9c7f5774ca502d14b0542c967ce9bbfa1ae468705e8ba9673c3');
INSERT INTO public.changes VALUES (1, 1, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847213, 'subscription', '0c741e1c-42da-484f-b01d-e55736c9cb32', NULL, NULL, '{"created":1795847213,"display_name":"tenant.denizen.test","id":"0c741e1c-42da-484f-b01d-e55736c9cb32","tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5"}', NULL);
INSERT INTO public.changes VALUES (1, 2, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847213, 'resource_group', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers', NULL, NULL, '{"created":1795847213,"id":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers","location":"local","tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5"}', NULL);
INSERT INTO public.changes VALUES (1, 3, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847213, 'application', 'fc2b3bb3-8cc4-469f-9660-5c605ba21194', NULL, NULL, '{"client_id":"fc2b3bb3-8cc4-469f-9660-5c605ba21194","display_name":"Administrator","identifier_uris":[],"keys":[],"object_id":"075f5cfb-9e85-499e-bc02-33d2b93be078","passwords":[{"display_name":"Administrator","end":1858919213,"hint":"U6F","key_id":"7c1a9f80-caf0-4e69-a391-13753e5a50b4","start":1795847213}],"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","token_version":"V1"}', NULL);
INSERT INTO public.changes VALUES (1, 4, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847213, 'service_principal', 'ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1', NULL, NULL, '{"client_id":"fc2b3bb3-8cc4-469f-9660-5c605ba21194","display_name":"Administrator","enabled":true,"epoch":0,"id":"ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","keys":[],"kind":"Application","tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","token_lifetime":null}', NULL);
INSERT INTO public.changes VALUES (1, 5, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847213, 'role_assignment', '9a724494-f869-4c9e-97fa-398d8167b804', NULL, NULL, '{"created":1795847213,"created_by":"system:denizen init","id":"9a724494-f869-4c9e-97fa-398d8167b804","principal":"ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","role":"8e3af657-a8ff-443c-a75c-2fe8c4bcb635","scope":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32","tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5"}', NULL);
INSERT INTO public.changes VALUES (1, 6, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847213, 'role_assignment', '2a7c6622-314c-4e70-b897-1280df14ca58', NULL, NULL, '{"created":1795847213,"created_by":"system:denizen init","id":"2a7c6622-314c-4e70-b897-1280df14ca58","principal":"ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","role":"62e90394-69f5-4237-9190-012177145e10","scope":"/","tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5"}', NULL);
INSERT INTO public.changes VALUES (1, 7, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847213, 'vault', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', NULL, '{"created":1795847213,"id":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers/providers/Microsoft.KeyVault/vaults/main","location":"local","name":"main","retention_days":90,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5"}', NULL);
INSERT INTO public.changes VALUES (2, 0, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847213, 'signing_key', '4R0TWMwQrHMN_9EIlumvc4z1yu8', NULL, NULL, '{"certificate":"MIIDUzCCAjugAwIBAgIQf1hovIwP1r0xXeDhNmbjGDANBgkqhkiG9w0BAQsFADBFMUMwQQYDVQQDDDpEZW5pemVuIHRva2VuIHNpZ25pbmcgMTEzYjc1YTktOTJhMC00ZGFjLTgzZmItNzM3MWVmN2E2OGU1MB4XDTI2MTEyODA2MjY1M1oXDTMxMTEyNzA2MjY1M1owRTFDMEEGA1UEAww6RGVuaXplbiB0b2tlbiBzaWduaW5nIDExM2I3NWE5LTkyYTAtNGRhYy04M2ZiLTczNzFlZjdhNjhlNTCCASIwDQYJKoZIhvcNAQEBBQADggEPADCCAQoCggEBALkOexxUmiWah9DGFvcjpKDWHqcZnHqy1WzFCminX9KMuqHHJ4Oqo84FfRrNqPESakFhp1b1iLJ4O9fM2AD9cR7L9hA1lqJRUUg10/3CDRfSsOMOWNuhYJ43ZO1vm2WN3v+G8Fa14vbMYx4ztLIkKK+5XCM6+pn/3IkO8b4uf+Uhn6pd6WQ9N0QREYjtl4BKXfyKTI+c9Vz8tjeuGgpy+zwZJ4cC/5pNfNlN7QJ1VktOq7O8YCBS5vjE7v6Cw3mD4eze+ISxgj3SCRNk+hiKazujgWO/jYLM8uDDpWCijfE+J2JFA5GQI4skd3mzMXj7QjO/gS33yZcpClm0S7PJ2O0CAwEAAaM/MD0wDgYDVR0PAQH/BAQDAgeAMB0GA1UdDgQWBBTsDZ9hpgXo5mQ4nsiv85GDfzO4ODAMBgNVHRMBAf8EAjAAMA0GCSqGSIb3DQEBCwUAA4IBAQAatM4gVcIFYCMUw/J+GP9u8DtvpUVhz1PTcIIDhD52iBiAsWfCAWUruwkgHFyjdEqQ3c36OR0PGzL3RXXps7DnPVlWISNd/S2xjhJDIUJ+zxU92pGEp0kGfRkB43VYSh03kQa2DYyTzNztGLnYcU0dyBTbWYzi/BU7vNPYLHy0Epb1yc0yZ9FFkDfChkgteCVch9Zhi5Y9d0hlsK6gim9pTrt1jgRy89NkOlfBKN8nzHwIhY3qZRTn3LD9CkShW6aZuX2g7kpzTuNd2yLspXKKr2gIYw64gabMlnbZejPyqnsl0jeoJ4Lrq4Kq1Z/19apB1B8/i0wr4nSeZMqvouhs","created":1795847213,"kid":"4R0TWMwQrHMN_9EIlumvc4z1yu8","published_until":null,"signs_from":1795847213,"signs_until":null,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5"}', '\x164ab3e999147cb39818ebdf5d815c83c6a7f3ed181c7c1d732113ce4f459e54');
INSERT INTO public.changes VALUES (2, 1, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847213, 'signing_key', 'nNDwEtqR_eX2iqGlKsYCLeJp6J0', NULL, NULL, '{"certificate":"MIIDUzCCAjugAwIBAgIQQiEIW1KMmKFEeAExCsPHUDANBgkqhkiG9w0BAQsFADBFMUMwQQYDVQQDDDpEZW5pemVuIHRva2VuIHNpZ25pbmcgMTEzYjc1YTktOTJhMC00ZGFjLTgzZmItNzM3MWVmN2E2OGU1MB4XDTI2MTEyODA2MjY1M1oXDTMxMTIyNzA2MjY1M1owRTFDMEEGA1UEAww6RGVuaXplbiB0b2tlbiBzaWduaW5nIDExM2I3NWE5LTkyYTAtNGRhYy04M2ZiLTczNzFlZjdhNjhlNTCCASIwDQYJKoZIhvcNAQEBBQADggEPADCCAQoCggEBALUc0ZJ4d9M4R/49EXObuUEWP3iVtPBiehzTW1E87lDszxS3kbVJV2hMcYvPry2ov/eg1sv5gnVHi9Xcu8BtHK9gzqdzaswR6URAvwn8mPinNPgGzuwlIx9XxeTUdr46QimkhJggLHBLl93vSKX53+YbqLgKa9WIs5Y2kwXPSAbQ6fdm3/mf8lFIJMih48d/hPaRE65y12NRPICiJ/KG0pUiNjPMyePG3B6r1zA4HaHVPpIGdZgAzIikjcF8UIM2RpcEzKsyW2JKDaFFBHNrg+2Si6ZD/BIed6Iv+Gz08UtDUGhghzWcdhWyAU6uqpp1YYVS3d1Y773ut/itO0OmwncCAwEAAaM/MD0wDgYDVR0PAQH/BAQDAgeAMB0GA1UdDgQWBBSO53FauYTBJ5qPG+hQS/xEI5/UDTAMBgNVHRMBAf8EAjAAMA0GCSqGSIb3DQEBCwUAA4IBAQAH8r5K8TOA9qIEhpSstG6GO+M6KTFulLGbyl4GA46YcbuNZqjmqbAI54nEwnpEIDH7IHBMU91z/5YZHsCOzvl9iMnEi04qo7VF+bRbtbrtc0Ku0IFI0bwEgaKmEtzroHgIj9W7wMRofQplougGfMgYkpUCXoIKw7A1wBuV0aqQFE8naa6LgT/P9Ac+xU9xhyWIc8R/AURn01M+24PSWbW9J4M1XKzD2KbzMzGqlfl9Rdrc7zNfVsDKa9513ikdpoCJymMmRNHT6fBrEYbaLy+u2Qzh804Eyr1xcVasZk3paWosUJUatPW1KaHwC+3yle3qO/wSyLdMyS4a/av1UYN4","created":1795847213,"kid":"nNDwEtqR_eX2iqGlKsYCLeJp6J0","published_until":null,"signs_from":1798439213,"signs_until":null,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5"}', NULL);
INSERT INTO public.changes VALUES (3, 0, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847213, 'role_assignment', '34b69319-da3b-4c1c-9c25-7618b1de4b5e', NULL, NULL, '{"created":1795847213,"created_by":"system:denizen role assignment create","id":"34b69319-da3b-4c1c-9c25-7618b1de4b5e","principal":"ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","role":"b86a8fe4-44ce-4948-aee5-eccb2c155cd7","scope":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32","tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5"}', '\x59a8f7c9d54272271e93a7e53ec3186d27950cd4cb63512248b12a7438ac0912');
INSERT INTO public.changes VALUES (4, 0, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847213, 'secret', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main/secrets/kept', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', NULL, '{"latest":"64299747d55c967415fdc632ea862adf"}', '\xbeee1943ef58e251fc2bf45a2a9ab579b5b025c16f8aa2eff358b97c16725993');
INSERT INTO public.changes VALUES (4, 1, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847213, 'secret_version', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main/secrets/kept/64299747d55c967415fdc632ea862adf', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', NULL, '{"contentType":null,"created":1795847213,"enabled":true,"exp":null,"name":"kept","nbf":null,"tags":{"a":"b"},"updated":1795847213,"version":"64299747d55c967415fdc632ea862adf"}', NULL);
INSERT INTO public.changes VALUES (5, 0, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847213, 'secret', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main/secrets/gone', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', NULL, '{"latest":"87f1f4e0cae2833c8499306208b5d6bc"}', '\xe43408bfba7d0280d68674390bc82e3b9621b594a71ddd8e33e416ca15e71c20');
INSERT INTO public.changes VALUES (5, 1, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847213, 'secret_version', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main/secrets/gone/87f1f4e0cae2833c8499306208b5d6bc', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', NULL, '{"contentType":null,"created":1795847213,"enabled":true,"exp":null,"name":"gone","nbf":null,"tags":{},"updated":1795847213,"version":"87f1f4e0cae2833c8499306208b5d6bc"}', NULL);
INSERT INTO public.changes VALUES (6, 0, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847213, 'secret', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main/secrets/gone', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', '{"latest":"87f1f4e0cae2833c8499306208b5d6bc"}', '{"deleted":1795847213,"latest":"87f1f4e0cae2833c8499306208b5d6bc","purgeAt":1803623213}', '\xa4019202887f2ffad3f4f96473a59d903405bc2dd04cfb6027fe202cc630ab4a');
INSERT INTO public.changes VALUES (7, 0, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847213, 'join_token', '33ea9138-8070-496e-8cb1-a706043aa334', NULL, NULL, '{"created":1795847213,"expires":1795850813,"id":"33ea9138-8070-496e-8cb1-a706043aa334","machine_name":null,"resource_group":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers","tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5"}', '\x0a600b6c187c5cd3bf442dfc435001c391826f8032b2dee818c5c709344d8fb5');
INSERT INTO public.changes VALUES (8, 0, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 'join_token', '33ea9138-8070-496e-8cb1-a706043aa334', NULL, '{"usedAt":null}', '{"usedAt":1795847214}', '\xb58e101665efbec3adbacba394dce45b086d676c3cbbfbfbbc4124d6f2731ab4');
INSERT INTO public.changes VALUES (8, 1, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 'service_principal', '3d0557fb-8978-4114-9659-2c6a63a226b5', NULL, NULL, '{"client_id":"bb78260a-cd0e-45ae-a41a-478e189ca9db","display_name":"web-1","enabled":true,"epoch":0,"id":"3d0557fb-8978-4114-9659-2c6a63a226b5","keys":[{"display_name":"node key","e":"010001","end":1858919214,"key_id":"981f5cd9-135d-4738-be61-5d977116da82","n":"a03c001ad837a6de6ab9d36a022fc3b908c684708bc5f366e54cd05301d7432404135d12dfe65003c503d2d39c7401b877010b94c3da759599d23810ab402c0b08a6859b38e72665997c2280876def466199b809d30b91133047b6aee31837ef2691b51779a96be031989493818538c39f80e96aa01e2b6c5c24ee39b247c7f5e185310af150b92207b49deee21ba7457bdf61852aa319398eac322d98ad4efa0311d018de994d7d1b4f71dfc5678bf052c54ba63c8b04ce196b4b0c91f8ff5e46b64c08f51356c40d88665969892c4014b34bf7054415c785a6709bad5a85081384d85cc76f02beb266c4cd6fd64e9573476aa4c18d19b02f9c2c0decc14155","start":1795846914,"x5t":[234,15,93,45,110,46,77,231,149,53,156,125,154,158,83,47,104,65,245,224],"x5t_s256":"c0991bd5deca50ecbfc5d3c3766c7a721d1537bccb35d5a4ae8fa186d5f9ef30"}],"kind":{"ManagedIdentity":{"resource_id":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers/providers/Microsoft.HybridCompute/machines/web-1"}},"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","token_lifetime":null}', NULL);
INSERT INTO public.changes VALUES (8, 2, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 'machine', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.hybridcompute/machines/web-1', NULL, NULL, '{"created":1795847214,"facts":{"agentVersion":"0.1.0","fqdn":"vm","osName":"Debian GNU/Linux 12 (bookworm)","osType":"linux","osVersion":"6.18.44-fc-v669"},"id":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers/providers/Microsoft.HybridCompute/machines/web-1","location":"local","machine_id":"835a22c5-7c8c-4b95-8644-feec6bf81dff","principal_id":"3d0557fb-8978-4114-9659-2c6a63a226b5","tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5"}', NULL);
INSERT INTO public.changes VALUES (9, 0, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 'role_assignment', '18793a12-dff1-403f-afe6-856a1cd20906', NULL, NULL, '{"created":1795847214,"created_by":"system:denizen role assignment create","id":"18793a12-dff1-403f-afe6-856a1cd20906","principal":"3d0557fb-8978-4114-9659-2c6a63a226b5","role":"4633458b-17de-408a-b874-0445c86b69e6","scope":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32","tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5"}', '\xa093f8df3ab955e79bc71018132d9c56146a57ef64f74f727990cc85cddbca93');
INSERT INTO public.changes VALUES (10, 0, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 'join_token', 'ed170fd2-a6b8-4565-b1f5-3cfcb806e712', NULL, NULL, '{"created":1795847214,"expires":1795850814,"id":"ed170fd2-a6b8-4565-b1f5-3cfcb806e712","machine_name":null,"resource_group":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers","tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5"}', '\x50c30f591e63aee1d49a85292b0eb1f14e354fe13dccf0fdac88387060ba54b2');
INSERT INTO public.changes VALUES (11, 0, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 'signing_key', '4R0TWMwQrHMN_9EIlumvc4z1yu8', NULL, '{"certificate":"MIIDUzCCAjugAwIBAgIQf1hovIwP1r0xXeDhNmbjGDANBgkqhkiG9w0BAQsFADBFMUMwQQYDVQQDDDpEZW5pemVuIHRva2VuIHNpZ25pbmcgMTEzYjc1YTktOTJhMC00ZGFjLTgzZmItNzM3MWVmN2E2OGU1MB4XDTI2MTEyODA2MjY1M1oXDTMxMTEyNzA2MjY1M1owRTFDMEEGA1UEAww6RGVuaXplbiB0b2tlbiBzaWduaW5nIDExM2I3NWE5LTkyYTAtNGRhYy04M2ZiLTczNzFlZjdhNjhlNTCCASIwDQYJKoZIhvcNAQEBBQADggEPADCCAQoCggEBALkOexxUmiWah9DGFvcjpKDWHqcZnHqy1WzFCminX9KMuqHHJ4Oqo84FfRrNqPESakFhp1b1iLJ4O9fM2AD9cR7L9hA1lqJRUUg10/3CDRfSsOMOWNuhYJ43ZO1vm2WN3v+G8Fa14vbMYx4ztLIkKK+5XCM6+pn/3IkO8b4uf+Uhn6pd6WQ9N0QREYjtl4BKXfyKTI+c9Vz8tjeuGgpy+zwZJ4cC/5pNfNlN7QJ1VktOq7O8YCBS5vjE7v6Cw3mD4eze+ISxgj3SCRNk+hiKazujgWO/jYLM8uDDpWCijfE+J2JFA5GQI4skd3mzMXj7QjO/gS33yZcpClm0S7PJ2O0CAwEAAaM/MD0wDgYDVR0PAQH/BAQDAgeAMB0GA1UdDgQWBBTsDZ9hpgXo5mQ4nsiv85GDfzO4ODAMBgNVHRMBAf8EAjAAMA0GCSqGSIb3DQEBCwUAA4IBAQAatM4gVcIFYCMUw/J+GP9u8DtvpUVhz1PTcIIDhD52iBiAsWfCAWUruwkgHFyjdEqQ3c36OR0PGzL3RXXps7DnPVlWISNd/S2xjhJDIUJ+zxU92pGEp0kGfRkB43VYSh03kQa2DYyTzNztGLnYcU0dyBTbWYzi/BU7vNPYLHy0Epb1yc0yZ9FFkDfChkgteCVch9Zhi5Y9d0hlsK6gim9pTrt1jgRy89NkOlfBKN8nzHwIhY3qZRTn3LD9CkShW6aZuX2g7kpzTuNd2yLspXKKr2gIYw64gabMlnbZejPyqnsl0jeoJ4Lrq4Kq1Z/19apB1B8/i0wr4nSeZMqvouhs","created":1795847213,"kid":"4R0TWMwQrHMN_9EIlumvc4z1yu8","published_until":null,"signs_from":1795847213,"signs_until":null,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5"}', '{"certificate":"MIIDUzCCAjugAwIBAgIQf1hovIwP1r0xXeDhNmbjGDANBgkqhkiG9w0BAQsFADBFMUMwQQYDVQQDDDpEZW5pemVuIHRva2VuIHNpZ25pbmcgMTEzYjc1YTktOTJhMC00ZGFjLTgzZmItNzM3MWVmN2E2OGU1MB4XDTI2MTEyODA2MjY1M1oXDTMxMTEyNzA2MjY1M1owRTFDMEEGA1UEAww6RGVuaXplbiB0b2tlbiBzaWduaW5nIDExM2I3NWE5LTkyYTAtNGRhYy04M2ZiLTczNzFlZjdhNjhlNTCCASIwDQYJKoZIhvcNAQEBBQADggEPADCCAQoCggEBALkOexxUmiWah9DGFvcjpKDWHqcZnHqy1WzFCminX9KMuqHHJ4Oqo84FfRrNqPESakFhp1b1iLJ4O9fM2AD9cR7L9hA1lqJRUUg10/3CDRfSsOMOWNuhYJ43ZO1vm2WN3v+G8Fa14vbMYx4ztLIkKK+5XCM6+pn/3IkO8b4uf+Uhn6pd6WQ9N0QREYjtl4BKXfyKTI+c9Vz8tjeuGgpy+zwZJ4cC/5pNfNlN7QJ1VktOq7O8YCBS5vjE7v6Cw3mD4eze+ISxgj3SCRNk+hiKazujgWO/jYLM8uDDpWCijfE+J2JFA5GQI4skd3mzMXj7QjO/gS33yZcpClm0S7PJ2O0CAwEAAaM/MD0wDgYDVR0PAQH/BAQDAgeAMB0GA1UdDgQWBBTsDZ9hpgXo5mQ4nsiv85GDfzO4ODAMBgNVHRMBAf8EAjAAMA0GCSqGSIb3DQEBCwUAA4IBAQAatM4gVcIFYCMUw/J+GP9u8DtvpUVhz1PTcIIDhD52iBiAsWfCAWUruwkgHFyjdEqQ3c36OR0PGzL3RXXps7DnPVlWISNd/S2xjhJDIUJ+zxU92pGEp0kGfRkB43VYSh03kQa2DYyTzNztGLnYcU0dyBTbWYzi/BU7vNPYLHy0Epb1yc0yZ9FFkDfChkgteCVch9Zhi5Y9d0hlsK6gim9pTrt1jgRy89NkOlfBKN8nzHwIhY3qZRTn3LD9CkShW6aZuX2g7kpzTuNd2yLspXKKr2gIYw64gabMlnbZejPyqnsl0jeoJ4Lrq4Kq1Z/19apB1B8/i0wr4nSeZMqvouhs","created":1795847213,"kid":"4R0TWMwQrHMN_9EIlumvc4z1yu8","published_until":1796020014,"signs_from":1795847213,"signs_until":1795847214,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5"}', '\x7804b4777af41a8ef712851cd99bd4dee22caa825c450827349aec8ea8becf1f');
INSERT INTO public.changes VALUES (17, 0, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 'secret', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main/secrets/s5', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', NULL, '{"latest":"dd9a3c98aa2afb8320c74f7457c156f3"}', '\x2089e2cc4c41eacd02083c727eb60bb5cd5e63d4549d403195f2d51912f2c9f0');
INSERT INTO public.changes VALUES (17, 1, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 'secret_version', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main/secrets/s5/dd9a3c98aa2afb8320c74f7457c156f3', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', NULL, '{"contentType":null,"created":1795847214,"enabled":true,"exp":null,"name":"s5","nbf":null,"tags":{},"updated":1795847214,"version":"dd9a3c98aa2afb8320c74f7457c156f3"}', NULL);
INSERT INTO public.changes VALUES (18, 0, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 'secret', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main/secrets/s6', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', NULL, '{"latest":"6de1f7cd33475c80354033446d7b69d2"}', '\x8bbfd2cc96f4ac31f26e0debe0e4d3b808b14512e1693276a380a0e16357a6f4');
INSERT INTO public.changes VALUES (11, 1, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 'signing_key', 'nNDwEtqR_eX2iqGlKsYCLeJp6J0', NULL, '{"certificate":"MIIDUzCCAjugAwIBAgIQQiEIW1KMmKFEeAExCsPHUDANBgkqhkiG9w0BAQsFADBFMUMwQQYDVQQDDDpEZW5pemVuIHRva2VuIHNpZ25pbmcgMTEzYjc1YTktOTJhMC00ZGFjLTgzZmItNzM3MWVmN2E2OGU1MB4XDTI2MTEyODA2MjY1M1oXDTMxMTIyNzA2MjY1M1owRTFDMEEGA1UEAww6RGVuaXplbiB0b2tlbiBzaWduaW5nIDExM2I3NWE5LTkyYTAtNGRhYy04M2ZiLTczNzFlZjdhNjhlNTCCASIwDQYJKoZIhvcNAQEBBQADggEPADCCAQoCggEBALUc0ZJ4d9M4R/49EXObuUEWP3iVtPBiehzTW1E87lDszxS3kbVJV2hMcYvPry2ov/eg1sv5gnVHi9Xcu8BtHK9gzqdzaswR6URAvwn8mPinNPgGzuwlIx9XxeTUdr46QimkhJggLHBLl93vSKX53+YbqLgKa9WIs5Y2kwXPSAbQ6fdm3/mf8lFIJMih48d/hPaRE65y12NRPICiJ/KG0pUiNjPMyePG3B6r1zA4HaHVPpIGdZgAzIikjcF8UIM2RpcEzKsyW2JKDaFFBHNrg+2Si6ZD/BIed6Iv+Gz08UtDUGhghzWcdhWyAU6uqpp1YYVS3d1Y773ut/itO0OmwncCAwEAAaM/MD0wDgYDVR0PAQH/BAQDAgeAMB0GA1UdDgQWBBSO53FauYTBJ5qPG+hQS/xEI5/UDTAMBgNVHRMBAf8EAjAAMA0GCSqGSIb3DQEBCwUAA4IBAQAH8r5K8TOA9qIEhpSstG6GO+M6KTFulLGbyl4GA46YcbuNZqjmqbAI54nEwnpEIDH7IHBMU91z/5YZHsCOzvl9iMnEi04qo7VF+bRbtbrtc0Ku0IFI0bwEgaKmEtzroHgIj9W7wMRofQplougGfMgYkpUCXoIKw7A1wBuV0aqQFE8naa6LgT/P9Ac+xU9xhyWIc8R/AURn01M+24PSWbW9J4M1XKzD2KbzMzGqlfl9Rdrc7zNfVsDKa9513ikdpoCJymMmRNHT6fBrEYbaLy+u2Qzh804Eyr1xcVasZk3paWosUJUatPW1KaHwC+3yle3qO/wSyLdMyS4a/av1UYN4","created":1795847213,"kid":"nNDwEtqR_eX2iqGlKsYCLeJp6J0","published_until":null,"signs_from":1798439213,"signs_until":null,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5"}', '{"certificate":"MIIDUzCCAjugAwIBAgIQQiEIW1KMmKFEeAExCsPHUDANBgkqhkiG9w0BAQsFADBFMUMwQQYDVQQDDDpEZW5pemVuIHRva2VuIHNpZ25pbmcgMTEzYjc1YTktOTJhMC00ZGFjLTgzZmItNzM3MWVmN2E2OGU1MB4XDTI2MTEyODA2MjY1M1oXDTMxMTIyNzA2MjY1M1owRTFDMEEGA1UEAww6RGVuaXplbiB0b2tlbiBzaWduaW5nIDExM2I3NWE5LTkyYTAtNGRhYy04M2ZiLTczNzFlZjdhNjhlNTCCASIwDQYJKoZIhvcNAQEBBQADggEPADCCAQoCggEBALUc0ZJ4d9M4R/49EXObuUEWP3iVtPBiehzTW1E87lDszxS3kbVJV2hMcYvPry2ov/eg1sv5gnVHi9Xcu8BtHK9gzqdzaswR6URAvwn8mPinNPgGzuwlIx9XxeTUdr46QimkhJggLHBLl93vSKX53+YbqLgKa9WIs5Y2kwXPSAbQ6fdm3/mf8lFIJMih48d/hPaRE65y12NRPICiJ/KG0pUiNjPMyePG3B6r1zA4HaHVPpIGdZgAzIikjcF8UIM2RpcEzKsyW2JKDaFFBHNrg+2Si6ZD/BIed6Iv+Gz08UtDUGhghzWcdhWyAU6uqpp1YYVS3d1Y773ut/itO0OmwncCAwEAAaM/MD0wDgYDVR0PAQH/BAQDAgeAMB0GA1UdDgQWBBSO53FauYTBJ5qPG+hQS/xEI5/UDTAMBgNVHRMBAf8EAjAAMA0GCSqGSIb3DQEBCwUAA4IBAQAH8r5K8TOA9qIEhpSstG6GO+M6KTFulLGbyl4GA46YcbuNZqjmqbAI54nEwnpEIDH7IHBMU91z/5YZHsCOzvl9iMnEi04qo7VF+bRbtbrtc0Ku0IFI0bwEgaKmEtzroHgIj9W7wMRofQplougGfMgYkpUCXoIKw7A1wBuV0aqQFE8naa6LgT/P9Ac+xU9xhyWIc8R/AURn01M+24PSWbW9J4M1XKzD2KbzMzGqlfl9Rdrc7zNfVsDKa9513ikdpoCJymMmRNHT6fBrEYbaLy+u2Qzh804Eyr1xcVasZk3paWosUJUatPW1KaHwC+3yle3qO/wSyLdMyS4a/av1UYN4","created":1795847213,"kid":"nNDwEtqR_eX2iqGlKsYCLeJp6J0","published_until":null,"signs_from":1795847214,"signs_until":null,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5"}', NULL);
INSERT INTO public.changes VALUES (11, 2, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 'signing_key', 'WGDdREpGdg5Tln1kC0kKKYLumJw', NULL, NULL, '{"certificate":"MIIDUzCCAjugAwIBAgIQQvoj52ApOrisbaM4ymM68TANBgkqhkiG9w0BAQsFADBFMUMwQQYDVQQDDDpEZW5pemVuIHRva2VuIHNpZ25pbmcgMTEzYjc1YTktOTJhMC00ZGFjLTgzZmItNzM3MWVmN2E2OGU1MB4XDTI2MTEyODA2MjY1NFoXDTMxMTIyNzA2MjY1NFowRTFDMEEGA1UEAww6RGVuaXplbiB0b2tlbiBzaWduaW5nIDExM2I3NWE5LTkyYTAtNGRhYy04M2ZiLTczNzFlZjdhNjhlNTCCASIwDQYJKoZIhvcNAQEBBQADggEPADCCAQoCggEBAOGcIkCCD2+mIyZQSQ819oMiQbEzaai9v6o9+cPHx2gDKkW/uo6gekXLX5jKHwD3zCBFADkfN7UIe90PJNv13PA/kF47zx9u3lrano/WLJrQhckk3PhNdK2sPaeiQ80Q0qdrU9fmse5TsX3R7USyls6pUtSb32g5ROTZzUdE+KmBbQrQXktASBM73knLIIrk+XJXkmpLldA93b4y+HqvC76VhVryZKJ3H9Y0OBRvcp3l8O2Cd17t4JnMFNJT6Prbwhm8apjcdErnMbdOO8d9pyW9Rnfyui4caYW42BQgg4t6c2qa807U9i6LUG2JOvia2IYvVqpMe76NWCQBBaJoQWMCAwEAAaM/MD0wDgYDVR0PAQH/BAQDAgeAMB0GA1UdDgQWBBRV5QJ44jTE/2z8bH4PFEdt3VB2gDAMBgNVHRMBAf8EAjAAMA0GCSqGSIb3DQEBCwUAA4IBAQAgbPDPLCTTBecOtLNMjgtKx+c0whf/sFZzJKMlB6ozpONlrRXFZvaao+d04CH63EIIcU+uJthpUllFR++2G/7NTcsZ3xYbMBVxW/7iNoYR1GQY9GdXBTEM2DVQPuX8yT1sU7/ev2VBM1yv7jfMl3wWNKlHrmugWNLVQLJ1DDwmdYmdor/i8VRPC/kBAB60iZKmqLZ4nThHNLRqVji+IzPsy0y1UWtQDr2Y2UxUMtQIG6WLhHmedtmAb24jxVfu4zBRtzv2bIt0fsvcTCXZEDeu2h4TgcLv/j2o5WLbI22JNenY5RzF1+xlYwXNvYKX3fxHMbVc6sVg4S967VyK7Yy+","created":1795847214,"kid":"WGDdREpGdg5Tln1kC0kKKYLumJw","published_until":null,"signs_from":1798439214,"signs_until":null,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5"}', NULL);
INSERT INTO public.changes VALUES (12, 0, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 'secret', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main/secrets/s0', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', NULL, '{"latest":"c4413810b40b83ce4458a5fe7ffe9d96"}', '\x30e1475355d34169145c031889667ea0f0159ea9687d1df763ba51362923e784');
INSERT INTO public.changes VALUES (12, 1, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 'secret_version', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main/secrets/s0/c4413810b40b83ce4458a5fe7ffe9d96', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', NULL, '{"contentType":null,"created":1795847214,"enabled":true,"exp":null,"name":"s0","nbf":null,"tags":{},"updated":1795847214,"version":"c4413810b40b83ce4458a5fe7ffe9d96"}', NULL);
INSERT INTO public.changes VALUES (13, 0, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 'secret', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main/secrets/s1', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', NULL, '{"latest":"bf954715474f8d7ef7422a7173d5eae2"}', '\x8a81b74a0273294ceeba27b7b7cce7f4d4004efd0e9f225d288a5e8f207d7ce8');
INSERT INTO public.changes VALUES (13, 1, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 'secret_version', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main/secrets/s1/bf954715474f8d7ef7422a7173d5eae2', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', NULL, '{"contentType":null,"created":1795847214,"enabled":true,"exp":null,"name":"s1","nbf":null,"tags":{},"updated":1795847214,"version":"bf954715474f8d7ef7422a7173d5eae2"}', NULL);
INSERT INTO public.changes VALUES (14, 0, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 'secret', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main/secrets/s2', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', NULL, '{"latest":"31ea3e0b8924d32db204b9d8a549e122"}', '\x8d5f878c199dd21afbec4eb76b21caa105c6d991cd86668d584bfb96f713714f');
INSERT INTO public.changes VALUES (14, 1, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 'secret_version', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main/secrets/s2/31ea3e0b8924d32db204b9d8a549e122', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', NULL, '{"contentType":null,"created":1795847214,"enabled":true,"exp":null,"name":"s2","nbf":null,"tags":{},"updated":1795847214,"version":"31ea3e0b8924d32db204b9d8a549e122"}', NULL);
INSERT INTO public.changes VALUES (15, 0, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 'secret', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main/secrets/s3', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', NULL, '{"latest":"fd6ffde71137318dac088c8f399913de"}', '\xf399c2c93723e893003894802ab4912c4d4b5f8390080c3d24d44a754e46f3cd');
INSERT INTO public.changes VALUES (15, 1, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 'secret_version', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main/secrets/s3/fd6ffde71137318dac088c8f399913de', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', NULL, '{"contentType":null,"created":1795847214,"enabled":true,"exp":null,"name":"s3","nbf":null,"tags":{},"updated":1795847214,"version":"fd6ffde71137318dac088c8f399913de"}', NULL);
INSERT INTO public.changes VALUES (16, 0, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 'secret', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main/secrets/s4', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', NULL, '{"latest":"1584ee65256dc256dd0332cdba6e238d"}', '\xb4a8e9bb313bf326b0f443a62e83faa18934b252b9083f0ff4fd3720211e42d4');
INSERT INTO public.changes VALUES (16, 1, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 'secret_version', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main/secrets/s4/1584ee65256dc256dd0332cdba6e238d', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', NULL, '{"contentType":null,"created":1795847214,"enabled":true,"exp":null,"name":"s4","nbf":null,"tags":{},"updated":1795847214,"version":"1584ee65256dc256dd0332cdba6e238d"}', NULL);
INSERT INTO public.changes VALUES (18, 1, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 'secret_version', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main/secrets/s6/6de1f7cd33475c80354033446d7b69d2', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', NULL, '{"contentType":null,"created":1795847214,"enabled":true,"exp":null,"name":"s6","nbf":null,"tags":{},"updated":1795847214,"version":"6de1f7cd33475c80354033446d7b69d2"}', NULL);
INSERT INTO public.changes VALUES (19, 0, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 'secret', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main/secrets/s7', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', NULL, '{"latest":"b042f03e7bf9ee19e9e66474fde2f80d"}', '\xd1e1eb1dcda0722b46711ed8d06de700249d843f14e23b27975c8d25d9f5af32');
INSERT INTO public.changes VALUES (19, 1, '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 1795847214, 'secret_version', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main/secrets/s7/b042f03e7bf9ee19e9e66474fde2f80d', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', NULL, '{"contentType":null,"created":1795847214,"enabled":true,"exp":null,"name":"s7","nbf":null,"tags":{},"updated":1795847214,"version":"b042f03e7bf9ee19e9e66474fde2f80d"}', NULL);



INSERT INTO public.head VALUES (1, 19, 1795847214, '\xab33fd880705d895738a3b5b1088d84f5848a0e055338eb87ba26e3d06ae6e81', '\x4f14cbeabc06a505a1f857274312f916d54ed8df4d3a0eef34ad0271e8560cbc', '\x850e46c3d5f215dbdb5697defe8b4e2ad3bb24d648fabb987d25227824132e1d');






INSERT INTO public.machines VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.hybridcompute/machines/web-1', '{"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","id":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers/providers/Microsoft.HybridCompute/machines/web-1","machine_id":"835a22c5-7c8c-4b95-8644-feec6bf81dff","principal_id":"3d0557fb-8978-4114-9659-2c6a63a226b5","location":"local","facts":{"osType":"linux","osName":"Debian GNU/Linux 12 (bookworm)","osVersion":"6.18.44-fc-v669","fqdn":"vm","agentVersion":"0.1.0"},"created":1795847214}', 8, '\x74a52558ae2a1857b6bc4b24090606d86e05b2a325aa33120835a7eb00ac1a46');



INSERT INTO public.one_time VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', 'join', '5f1bfd94c2bdd51ed4760b93076dd8f6003fa6482bf661505a8ec87b2f1036df', 'ed170fd2-a6b8-4565-b1f5-3cfcb806e712', 1795850814, NULL, '{"id":"ed170fd2-a6b8-4565-b1f5-3cfcb806e712","tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","hash":"5f1bfd94c2bdd51ed4760b93076dd8f6003fa6482bf661505a8ec87b2f1036df","resource_group":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers","machine_name":null,"created":1795847214,"expires":1795850814}', 10, '\x3c564762fad3c0157011424610493a048cc65ed45f84a4dbeef79f49d6bdf56f');
INSERT INTO public.one_time VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', 'join', 'd4e882eb6b5c67d567ef5356b313bc40baee805cc9b24c2a4880b1620f5dee46', '33ea9138-8070-496e-8cb1-a706043aa334', 1795850813, 1795847214, '{"id":"33ea9138-8070-496e-8cb1-a706043aa334","tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","hash":"d4e882eb6b5c67d567ef5356b313bc40baee805cc9b24c2a4880b1620f5dee46","resource_group":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers","machine_name":null,"created":1795847213,"expires":1795850813}', 8, '\xdd0409d9a203cef9093ebef8b39d53b02708b56087b5e97cf3bdf16a96a596fb');



INSERT INTO public.resource_groups VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers', '{"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","id":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers","location":"local","created":1795847213}', 1, '\xe3e0aeb085c08318c28f4262595f5f62a2eab8289e004b1e0cbeba9a79e73bfa');



INSERT INTO public.role_assignments VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '18793a12-dff1-403f-afe6-856a1cd20906', '{"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","id":"18793a12-dff1-403f-afe6-856a1cd20906","scope":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32","principal":"3d0557fb-8978-4114-9659-2c6a63a226b5","role":"4633458b-17de-408a-b874-0445c86b69e6","created":1795847214,"created_by":"system:denizen role assignment create"}', 9, '\x56acef1632adf5426bbfda954ded8ce33c15620e738beda2510981870ff2f096');
INSERT INTO public.role_assignments VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '2a7c6622-314c-4e70-b897-1280df14ca58', '{"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","id":"2a7c6622-314c-4e70-b897-1280df14ca58","scope":"/","principal":"ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","role":"62e90394-69f5-4237-9190-012177145e10","created":1795847213,"created_by":"system:denizen init"}', 1, '\x2b1095d05d35589fb32dfb972a91aca59042c9d06ce9f681493d65b702823f94');
INSERT INTO public.role_assignments VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '34b69319-da3b-4c1c-9c25-7618b1de4b5e', '{"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","id":"34b69319-da3b-4c1c-9c25-7618b1de4b5e","scope":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32","principal":"ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","role":"b86a8fe4-44ce-4948-aee5-eccb2c155cd7","created":1795847213,"created_by":"system:denizen role assignment create"}', 3, '\x87526073c2eca8a991786160ab6a7f383eb5cfd9098e5898d2253e0381bfc308');
INSERT INTO public.role_assignments VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '9a724494-f869-4c9e-97fa-398d8167b804', '{"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","id":"9a724494-f869-4c9e-97fa-398d8167b804","scope":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32","principal":"ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","role":"8e3af657-a8ff-443c-a75c-2fe8c4bcb635","created":1795847213,"created_by":"system:denizen init"}', 1, '\x1f5d135640275c9fdc6710927ed56bfedfbbbfe67584adf13dfb9f11e6f0189a');






INSERT INTO public.schema_migrations VALUES (1, 'init', '\xed7c50c5ec268646fc9fb9b23bf5211d7b22f87242c1e24880c595153b402d21');



INSERT INTO public.secret_versions VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', 'gone', '87f1f4e0cae2833c8499306208b5d6bc', 1, NULL, '{}', 1, NULL, NULL, 1795847213, 1795847213, '\x02670b886c785915cd1fddb241b00ca278311c314f575efc509a43e5d1d4e957aef91df5f9231b3c4619f46c8edcdfcdf808ffa13f9820b069d5758c1e', '\x0197d87fcdade81c8f8a02c411df21b95c3957c70d57b5d870d688e5d051', '\x1325cac798ec81d9c05ef01e9b65f286c8437b5944e16a46170bc23d783eb2e2', 5, '\x0e3659cbc74b8e463f007cde5a1d48b3e0a3d86060e2ea0dbb89f7ead6e028df');
INSERT INTO public.secret_versions VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', 'kept', '64299747d55c967415fdc632ea862adf', 1, NULL, '{"a":"b"}', 1, NULL, NULL, 1795847213, 1795847213, '\x023b2c3c2c21481e2ef740157ad64d7a715942a4303f1ce04ddfd23913604bd5c1839738f25172be6604225343234575631cdddd3e9dc316b2340fd30b', '\x01d6e5880ef1d2df5d9538324a6c797a17b1f4316f113eda7f11dcea5fe2f868bcc3ddced8ec914862b90b9805b84986c9d9', '\x699e1fc558799a18185077e7974570ad60275b47bdc24d6e8cf1071562686489', 4, '\x181f367fbc08f1cdd85c458beab99fe4fe02596856bb8ff93232ef57e6e1dec3');
INSERT INTO public.secret_versions VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', 's0', 'c4413810b40b83ce4458a5fe7ffe9d96', 1, NULL, '{}', 1, NULL, NULL, 1795847214, 1795847214, '\x0258e311d8e12122c6e2ed4bcc166eda3cb70a73aac56f13606ec14e68cc881378220c0e18a2b982daf834d3fab32f89749373df233d982b7ca8ce0cc1', '\x01c4ddc2ad7b20b26b4fc8f38c8df8f3e545303ed21d1fd26860fc076aba', '\x4a15c1a98e690385a9521abc12945e53830f0ff21bce5623d452d61130143846', 12, '\x85d258758b0f41627996678ed193b7c156648bb3e4e93ecfdfa09965978a67a9');
INSERT INTO public.secret_versions VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', 's1', 'bf954715474f8d7ef7422a7173d5eae2', 1, NULL, '{}', 1, NULL, NULL, 1795847214, 1795847214, '\x0271bf4d4b1b0cfe45c69614284bfd1ce2fc798de81dfdbe05c82215ec61e9a72c84784aa4378c7f9e32c6bafe0465ab1e764fee5cdfa31db0528fd45e', '\x017263880e2174f323da492b20e4b79cad270a4925831ec16d5f370c6ec7', '\xc74a9d5ef35d6fbd312350db64938af8b70b7a50a9c4ad337cfafa439c024953', 13, '\x50ed390f04334c8de5a7a64cf42d87185691a45eb9a1c351c7eed9dc6124b417');
INSERT INTO public.secret_versions VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', 's2', '31ea3e0b8924d32db204b9d8a549e122', 1, NULL, '{}', 1, NULL, NULL, 1795847214, 1795847214, '\x02e9fd2bc96e6f9f7a4e26d52888c4f48e8b99534df09fe6171b341203294a761c98bce36cdb785842aaeeb486e3fa3eccfe8ab9bb1ad2eeb65a2d4a75', '\x01a39a0fb15324d2846492699ef63f257352266e736fd0e4b2633f924ef4', '\xdd25a5177afbcee49664497bca68799222d048b21e74febf9f3f6d35854f5e09', 14, '\x03254562005d8a5c13a884d15f0b3a99fc50a69ab0fb94a44e1b45020732e386');
INSERT INTO public.secret_versions VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', 's3', 'fd6ffde71137318dac088c8f399913de', 1, NULL, '{}', 1, NULL, NULL, 1795847214, 1795847214, '\x02c609f011c5d2ccf6c61ba7949cdfb25df9ed8d55f46c6bb9e906dd1337b57f7f3bdcaeb30eb833afe4f425bb7d6280d6250f2ae11794edeba5b1bf84', '\x01b88cfafc6e051fadc44a614cf7ec343518318862cb304cc8dcad48b91c', '\x2b5cfd0e5fdaa6f05598ea83ccefc0faff6d3e0198679292d8c3933730ebd84c', 15, '\x69cd1ddfd5a7cc2875cfad26385decc2df7ee1c51939910e9d12afae498e80e7');
INSERT INTO public.secret_versions VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', 's4', '1584ee65256dc256dd0332cdba6e238d', 1, NULL, '{}', 1, NULL, NULL, 1795847214, 1795847214, '\x029a7871965306069d7c3485f8bda4ccf972f007105977ec3232ca50249acdc85d3c43fdf86fd1fb3cea010c487e3150ccb157cb9b19258a0c975ecbaf', '\x0165130700fabb56fca83a8867f0647d3bc68e071fb56dffe0ec2435fa83', '\x2e551b2e86d57adb03fd7cad8e25e2cd9a5ced66c8a506aff07adee518862de6', 16, '\xdae18a9b4bd70a23dcbd057322a6ea633c349a06813c896da767923362f05d5c');
INSERT INTO public.secret_versions VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', 's5', 'dd9a3c98aa2afb8320c74f7457c156f3', 1, NULL, '{}', 1, NULL, NULL, 1795847214, 1795847214, '\x0248e5136740b103d7e0dc66186bf6143483aa19f50e9ec66cbb497e062ca3f7cf57dfcc01ce63d69e9fe8cc059c44f9200c7a86c34f4ceedebb9ebecd', '\x016f341b844e9b65d74a34dffe04cbb2a77c45f496777989188c8f7aa040', '\x4435ded60ab00fcd4aa129900769797a854497b8fe20a1cbf7b8aee259ed2400', 17, '\x62a09b6773cf6717a2e1a164829b2f4355caa10c60b39e50f4f8bf3dd18af979');
INSERT INTO public.secret_versions VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', 's6', '6de1f7cd33475c80354033446d7b69d2', 1, NULL, '{}', 1, NULL, NULL, 1795847214, 1795847214, '\x02cdc825bb265bcb8cdc31affd213960a5caf1238fd505cb2ffaa6a6f0ed9af4a5a7ef95fabc81b3c063172dbd88b1eeed64f28316ca915b37effc0b79', '\x016e297144e823f2ca157ad08b02c63219548010dee155d001fdfc8c5b09', '\xee960eff9ed6154451b4cacb623e27b05f82b86601f7e328f563779ce1cab36f', 18, '\xa2e692d30cc1f0c752448c9bcfe4f32251c363765d3149281c6200a670e4f58a');
INSERT INTO public.secret_versions VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', 's7', 'b042f03e7bf9ee19e9e66474fde2f80d', 1, NULL, '{}', 1, NULL, NULL, 1795847214, 1795847214, '\x023d94b0946314d2cce37387771096344f7bf1e2a29b300219db6d186c3fad8b5d1a6812f3665d68240f27a87a3d80b0b29946758b18848e973f92f907', '\x01f1f845a5c0dd40ac3b93896d9dcd38033cbe7cba35c08ddb9352bbda05', '\xa9422adbbb68f717d0ed4a7e4742e54195fca34be00b02acda3887b14d62807f', 19, '\xadb3fb055907c3159f72137f8234816dec574cd999e8afb0705a8a6d180530e1');



INSERT INTO public.secrets VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', 'gone', 'gone', '87f1f4e0cae2833c8499306208b5d6bc', 1795847213, 1803623213, 6, '\x4849792ca76d6026273ff8ffb90c403c6159023e5cdabb6bfbefc4233c671950');
INSERT INTO public.secrets VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', 'kept', 'kept', '64299747d55c967415fdc632ea862adf', NULL, NULL, 4, '\xe8051a553ac403a60f4302e158aa51e2fd8e9201670a7dc5452f8836b03a3a24');
INSERT INTO public.secrets VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', 's0', 's0', 'c4413810b40b83ce4458a5fe7ffe9d96', NULL, NULL, 12, '\xa4d08c19012305712eb8e4ae0d27cd1adfb583212e76ef659a7b92f8979e1b19');
INSERT INTO public.secrets VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', 's1', 's1', 'bf954715474f8d7ef7422a7173d5eae2', NULL, NULL, 13, '\x29ed5977e24a399fa3523914642406843405769da1d178b74073853180b6f6e5');
INSERT INTO public.secrets VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', 's2', 's2', '31ea3e0b8924d32db204b9d8a549e122', NULL, NULL, 14, '\x5070a5eb3bb4f568cbe327470daadd2137b74152ea42c72d6ba13519c5094c32');
INSERT INTO public.secrets VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', 's3', 's3', 'fd6ffde71137318dac088c8f399913de', NULL, NULL, 15, '\xd9bc9a44ef853808881f755d67de719230e964213277a39c7f2732cc9580a4b5');
INSERT INTO public.secrets VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', 's4', 's4', '1584ee65256dc256dd0332cdba6e238d', NULL, NULL, 16, '\xa9b03689bff188095e70751c8110ed4ef584c597411458ea778753f32798ee01');
INSERT INTO public.secrets VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', 's5', 's5', 'dd9a3c98aa2afb8320c74f7457c156f3', NULL, NULL, 17, '\xdee6f04369ae1fcfff4286e025e4ee962b95e168156b5c4d24bdee89216c30af');
INSERT INTO public.secrets VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', 's6', 's6', '6de1f7cd33475c80354033446d7b69d2', NULL, NULL, 18, '\x522eb93cb39377626bd0004789e30dce9206eeb7922187f96b088c263bc4909c');
INSERT INTO public.secrets VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', 's7', 's7', 'b042f03e7bf9ee19e9e66474fde2f80d', NULL, NULL, 19, '\x211941ef7d3710b0514ed669f0366e8e0828387015642541884c79551c992e81');



INSERT INTO public.service_principals VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '3d0557fb-8978-4114-9659-2c6a63a226b5', 'bb78260a-cd0e-45ae-a41a-478e189ca9db', '{"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","id":"3d0557fb-8978-4114-9659-2c6a63a226b5","client_id":"bb78260a-cd0e-45ae-a41a-478e189ca9db","display_name":"web-1","kind":{"ManagedIdentity":{"resource_id":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers/providers/Microsoft.HybridCompute/machines/web-1"}},"enabled":true,"epoch":0,"keys":[{"key_id":"981f5cd9-135d-4738-be61-5d977116da82","display_name":"node key","start":1795846914,"end":1858919214,"x5t":[234,15,93,45,110,46,77,231,149,53,156,125,154,158,83,47,104,65,245,224],"x5t_s256":"c0991bd5deca50ecbfc5d3c3766c7a721d1537bccb35d5a4ae8fa186d5f9ef30","n":"a03c001ad837a6de6ab9d36a022fc3b908c684708bc5f366e54cd05301d7432404135d12dfe65003c503d2d39c7401b877010b94c3da759599d23810ab402c0b08a6859b38e72665997c2280876def466199b809d30b91133047b6aee31837ef2691b51779a96be031989493818538c39f80e96aa01e2b6c5c24ee39b247c7f5e185310af150b92207b49deee21ba7457bdf61852aa319398eac322d98ad4efa0311d018de994d7d1b4f71dfc5678bf052c54ba63c8b04ce196b4b0c91f8ff5e46b64c08f51356c40d88665969892c4014b34bf7054415c785a6709bad5a85081384d85cc76f02beb266c4cd6fd64e9573476aa4c18d19b02f9c2c0decc14155","e":"010001"}],"token_lifetime":null}', 8, '\x8d4cc6299439958158aa085af0c3069d262e92addae32ad9c210b3b4abf14bf3');
INSERT INTO public.service_principals VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', 'ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1', 'fc2b3bb3-8cc4-469f-9660-5c605ba21194', '{"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","id":"ccfcf12f-ac36-4527-b7b1-3c4db73d6fc1","client_id":"fc2b3bb3-8cc4-469f-9660-5c605ba21194","display_name":"Administrator","kind":"Application","enabled":true,"epoch":0,"keys":[],"token_lifetime":null}', 1, '\xc38d204a3c3aacde27323c8f206c8d87ac040c7c6bee1b3533460b0929e7ddd9');



INSERT INTO public.signing_keys VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '4R0TWMwQrHMN_9EIlumvc4z1yu8', '{"certificate":"MIIDUzCCAjugAwIBAgIQf1hovIwP1r0xXeDhNmbjGDANBgkqhkiG9w0BAQsFADBFMUMwQQYDVQQDDDpEZW5pemVuIHRva2VuIHNpZ25pbmcgMTEzYjc1YTktOTJhMC00ZGFjLTgzZmItNzM3MWVmN2E2OGU1MB4XDTI2MTEyODA2MjY1M1oXDTMxMTEyNzA2MjY1M1owRTFDMEEGA1UEAww6RGVuaXplbiB0b2tlbiBzaWduaW5nIDExM2I3NWE5LTkyYTAtNGRhYy04M2ZiLTczNzFlZjdhNjhlNTCCASIwDQYJKoZIhvcNAQEBBQADggEPADCCAQoCggEBALkOexxUmiWah9DGFvcjpKDWHqcZnHqy1WzFCminX9KMuqHHJ4Oqo84FfRrNqPESakFhp1b1iLJ4O9fM2AD9cR7L9hA1lqJRUUg10/3CDRfSsOMOWNuhYJ43ZO1vm2WN3v+G8Fa14vbMYx4ztLIkKK+5XCM6+pn/3IkO8b4uf+Uhn6pd6WQ9N0QREYjtl4BKXfyKTI+c9Vz8tjeuGgpy+zwZJ4cC/5pNfNlN7QJ1VktOq7O8YCBS5vjE7v6Cw3mD4eze+ISxgj3SCRNk+hiKazujgWO/jYLM8uDDpWCijfE+J2JFA5GQI4skd3mzMXj7QjO/gS33yZcpClm0S7PJ2O0CAwEAAaM/MD0wDgYDVR0PAQH/BAQDAgeAMB0GA1UdDgQWBBTsDZ9hpgXo5mQ4nsiv85GDfzO4ODAMBgNVHRMBAf8EAjAAMA0GCSqGSIb3DQEBCwUAA4IBAQAatM4gVcIFYCMUw/J+GP9u8DtvpUVhz1PTcIIDhD52iBiAsWfCAWUruwkgHFyjdEqQ3c36OR0PGzL3RXXps7DnPVlWISNd/S2xjhJDIUJ+zxU92pGEp0kGfRkB43VYSh03kQa2DYyTzNztGLnYcU0dyBTbWYzi/BU7vNPYLHy0Epb1yc0yZ9FFkDfChkgteCVch9Zhi5Y9d0hlsK6gim9pTrt1jgRy89NkOlfBKN8nzHwIhY3qZRTn3LD9CkShW6aZuX2g7kpzTuNd2yLspXKKr2gIYw64gabMlnbZejPyqnsl0jeoJ4Lrq4Kq1Z/19apB1B8/i0wr4nSeZMqvouhs","created":1795847213,"kid":"4R0TWMwQrHMN_9EIlumvc4z1yu8","published_until":1796020014,"sealed":"Apv9R/qMca0cdizzC/NvI0K63N01tmTMIuccJA7ISG8Mn1a3JJ8T3ZHGLUfY0evVCl+jt8wWxwINUUUh8g==.AePpJf5OCQAx3OQJ5guvDPyo+bGYzdUEV4MpbX2GDoJGgwrqm/FPtyc46lLq4UfaWRP0BIRKw9+wdBGkGX4eZAn3aWeUxZa/nWp4azw1NYa0LrVr2DpMqXMlHdUlQBTzOYC9sPNzBirfSOlg0IOULgbdg13BdtNYFcmLXAk0TDtEHo+9LyttZkZ6UwofEvblzBFmqKjgzg1f5bzUhVk/ahDDXLCki+K5P63hcjZ50BzHzBKodquOFtXrcSZDtX60iWVs3+g0kql/+30LHqTFKjPWohBs7IxIObztg3WOA3+CD+0sxehTq3jmEtlTCHT1njNsZ3RCAF9fIKXBsLNfrGtrOjqII3DwnjxRHGr+NB1wYN//ddwm3a5Lw6Pf1zdNwTEtsEQ8tUX75mUolOj9W6JxBxXSVo+vaN1etKHatdmYrzyGw5pX0N6i3VPpjDAuqJ0ez8+6I0mWEXPK5f7g7oGXqKRljqhDtf7DnxucxZ7Mlvn2ZXIKJOeD3u25aGpQ51fU3RMQuLJTTHA7f5EJvPJgBNaV5piW/ex2wXgp3sAiMYTyfGGkPgYDFdQV6O0DKpwI7PNYsNkZPv8w4vKEi3xRzSD5/KuYZ73+wyzt5ukW9rRTj9dgG4ERV9oCkq3Z9zruDtcrjajN03pCR7ec9xVzFTZg7DgCFiHTKDY/Yzot0WIuEjH9Q3LErItC2VBlnMBc3tzwx89e6lcWJMKxQDVzhz3cUrzDALwddncIrslo+3TtVSCJFj/gXaaQEY5HvFwhOpWJt8uKS84yMgDQZxKkungR5EUfx05RNpEEraTntMzRTB1vMQojhMKbLx1F5vs8qlctswRpCP1T6HHXMgbb+5KpoONgvgfnuRJ+FdmUcZrYMsIKo2odJK1+1UTWe8D9Oe/MryPrn0tovRRZ4lgVqj10dS2st5weo1EHs5ifuJ2+Or/w/oQYEvsMAbi+B3wK5Mco3rnjRrtou8Wa2MoqXko7zo733+TgetCxlzqLA8UZVw7zRPO5H1DpFytnxQI/CuDxgljesOTM+7ziJsRochYT7pc8+ueI423zIxSppsCBBPeVQg6huFh/vrWq4VMCThZgQiGczCvuq8cP/0uimnK77m97oFwBB62TCFF2Y+tsbJZDgQQRmXgB6tFjSY8qEbLwpJ4mbuaSr/CMAGfa3VzJ/jHLVD0LGO32Nx4OBmaulU0+8cyf64RRgsDPNJvWbVUFwcb7/lVNnDZssnqWWG3yoBpYgL6WDF3sRAp7A/h3YVlzEHxD92qUSQhtu8wn7mdcSlwpc/Nz8iIlO2MlJbWcRLbdY2P/2egbvVhnmgZV4SmWscbRNt/h77OVcAt4YZH127qfs1Q7o4ln/i3APoj9rl7yD6uJMXVykqqaH0bmXBvlSveAXA0DhOuCtDK8PLxuo3944jKtvFyTGEJS244wo8mCwyLjpOLAvm8ccdM3V4+jO6B69iWOWEuwxllFlCbuL1Ifp0tE2WVcwCoDqfcSRAe/Zco2pNcIgEfWbfcDBAvA6mltTzus4LKQvZH+4/mFEqcizwXSHyH0eG8aHhGhw87rnATY4g0tJKXdMTmb2FbO/00hjOxfD5BrmBFG5Wb5ZCjkno4cfH1OrNWNCkSAHds5Roh5bYFUlfbspgqdGtsAp/FT3SiJ","signs_from":1795847213,"signs_until":1795847214,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5"}', 11, '\xa26a2c4abac04ef1e7588295bc0312209d778926c3d7b18dfab2e100942937bb');
INSERT INTO public.signing_keys VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', 'WGDdREpGdg5Tln1kC0kKKYLumJw', '{"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","kid":"WGDdREpGdg5Tln1kC0kKKYLumJw","certificate":"MIIDUzCCAjugAwIBAgIQQvoj52ApOrisbaM4ymM68TANBgkqhkiG9w0BAQsFADBFMUMwQQYDVQQDDDpEZW5pemVuIHRva2VuIHNpZ25pbmcgMTEzYjc1YTktOTJhMC00ZGFjLTgzZmItNzM3MWVmN2E2OGU1MB4XDTI2MTEyODA2MjY1NFoXDTMxMTIyNzA2MjY1NFowRTFDMEEGA1UEAww6RGVuaXplbiB0b2tlbiBzaWduaW5nIDExM2I3NWE5LTkyYTAtNGRhYy04M2ZiLTczNzFlZjdhNjhlNTCCASIwDQYJKoZIhvcNAQEBBQADggEPADCCAQoCggEBAOGcIkCCD2+mIyZQSQ819oMiQbEzaai9v6o9+cPHx2gDKkW/uo6gekXLX5jKHwD3zCBFADkfN7UIe90PJNv13PA/kF47zx9u3lrano/WLJrQhckk3PhNdK2sPaeiQ80Q0qdrU9fmse5TsX3R7USyls6pUtSb32g5ROTZzUdE+KmBbQrQXktASBM73knLIIrk+XJXkmpLldA93b4y+HqvC76VhVryZKJ3H9Y0OBRvcp3l8O2Cd17t4JnMFNJT6Prbwhm8apjcdErnMbdOO8d9pyW9Rnfyui4caYW42BQgg4t6c2qa807U9i6LUG2JOvia2IYvVqpMe76NWCQBBaJoQWMCAwEAAaM/MD0wDgYDVR0PAQH/BAQDAgeAMB0GA1UdDgQWBBRV5QJ44jTE/2z8bH4PFEdt3VB2gDAMBgNVHRMBAf8EAjAAMA0GCSqGSIb3DQEBCwUAA4IBAQAgbPDPLCTTBecOtLNMjgtKx+c0whf/sFZzJKMlB6ozpONlrRXFZvaao+d04CH63EIIcU+uJthpUllFR++2G/7NTcsZ3xYbMBVxW/7iNoYR1GQY9GdXBTEM2DVQPuX8yT1sU7/ev2VBM1yv7jfMl3wWNKlHrmugWNLVQLJ1DDwmdYmdor/i8VRPC/kBAB60iZKmqLZ4nThHNLRqVji+IzPsy0y1UWtQDr2Y2UxUMtQIG6WLhHmedtmAb24jxVfu4zBRtzv2bIt0fsvcTCXZEDeu2h4TgcLv/j2o5WLbI22JNenY5RzF1+xlYwXNvYKX3fxHMbVc6sVg4S967VyK7Yy+","sealed":"Arqh9O6M4LJCHcY+9NSesU3pFSADpaYPh7UUW61RUBGSV7NVL/1SelL6qWah2gaThg4/5+VaQ9XyhWJj3Q==.AXmFsLmPnf6Qseq/9xDiONl6A9i0HzbB9sqXfpysqZm9SDRcnpnrffeoA/b/pPYhEtFHevnN7yyMtyy+1Z0Mbm14V5bOEfEUDxfJZhJzUlRI9/l+M/pBNbmLKq9fppxBX46tKDr5g9DnD5BH5S29x76ROCWzJwfFtga9i4KF8xGitOyKPOkjQdix4abMDGlkxFfFfccRnImz1/QxkzIp/CdFwFPS3mEupVRASTGW6sjUUh+DFAVdXwMiVpeFMXsmjy4cgzerYOLaRgkc13wJ6vUKgOcrEr6FzBMpDLpW87+4/NGamoXXTV0IX9DBE1iF/1IWAcE3QnW2ZZM9ahYB50eZu4jB+S9sHSYcR2Zu1V44ZbUPoSfMucHRFAquILN5tCdobOpUHDM65QXEhfYHImXUqMT9wUGPecy+5DUH40S1Ff9ksGcx5xuz4BVVaG987jRvuUV4mqJBqANaduPAgwcAjfvs3iH6i1Vrm3jpq4Rocn51Kd09pySj/DrFoy3iBZwdeqmDx+FH6O9Gb4U55u1RCujGGwE6GbbS5++3li/GI/vOPzlERXr2HnaJfSEMqW7d35EkwEJqF+kmhpsxCHGL5ToGYQO/r7Vh8cSzsuAFB6N0mXsIjUxXQQSecuHdOIINd7L3uivAKM++sMYa1FIiIkwyL/2PETmmAqnOCGGEpDMWxHRphGLo4leQyUE5y8i95aMgCtXpDqdNTqQuzt/fJarXmTSuooOI7AjNqccRy9wc0nsw00l6WmuLAlXeseE1fZRicr+mPd42JsAotcFyxSGi3ixszW7JtEd9jx3+cdMTLutfsS7xtVviPX+tdNm0U8qkwkNF/KyE5AvpGGpjZfDChN+TdQDq+g8l36d3XAnDCdzBigfbyQ5DrdbKV28jVQURu9yppYZlf5Zc6Bj5oO5anI5oHr5/yksG7UMH0SN3zE5stEuYlwqpb3tpHOdGcRxXfn3D3uyKO7Yt1K+P/iFBX4xp7Sp6IZK2N9ZSgovmCa13TAxuxe3jESXMPsMIY3xlwj9ZG28PwJ+Sl9ZjOCGhmK+navwf94hRmO074KsvW8qnXVxK/IBrCVHBRDBhsEzBLbWFrxY9nz8sWZ8Uq93ucGFvnGrrYGA1oFAz3zihsc8QASp47m8tOmKkU13mWuEw3mA7Ac1ni1QjD+mo6+2+sjUApeV9TeC/Hrbb/QfKirWtyV4m8kTINW1jP83efOl1ZHVvY7jJXsyvvH8npTOL5F53KPqmOgvHRWGB1fFF0Jvf1ktn2qd2Q+fr5StrUOhpj0P7I1agIR5RLlT14JnzG31IqR39NDBMZewYUaTkeMXILcuIsUObZJ5Jyha4Q1h+p9xfUO+u8eXWeUQLSajU+8G+jJU2ckY3hw8Z5u1mXxRsG7xLCO2xOQnor31K8ewxMKyOKyNR3kfh6OThITee7ExccGVdpzOJh/glsT7AKiH5FUnh5InKnK7uXrw2j8buc4fAN3GNShe1kBnw6Hz4uGQFScHyvIe+BYJIa5oDjcBNiZAKazE8Qje/6lEDuUCbqgyj/md4J/qHcPXAZZxJ02fo4HIeksn/KTF8jG9/YlYB6A6r3ndU0LZd2yo3G8XpbE0kHQCV8YNNiOswv0ghnQBZEkszuXxayqJNLyoaZkBKkTAeBio85B1p","created":1795847214,"signs_from":1798439214,"signs_until":null,"published_until":null}', 11, '\xc8c5eb3989b5c2261b418948afa78404d2ac24a2a8b181e57ca459803c2750d7');
INSERT INTO public.signing_keys VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', 'nNDwEtqR_eX2iqGlKsYCLeJp6J0', '{"certificate":"MIIDUzCCAjugAwIBAgIQQiEIW1KMmKFEeAExCsPHUDANBgkqhkiG9w0BAQsFADBFMUMwQQYDVQQDDDpEZW5pemVuIHRva2VuIHNpZ25pbmcgMTEzYjc1YTktOTJhMC00ZGFjLTgzZmItNzM3MWVmN2E2OGU1MB4XDTI2MTEyODA2MjY1M1oXDTMxMTIyNzA2MjY1M1owRTFDMEEGA1UEAww6RGVuaXplbiB0b2tlbiBzaWduaW5nIDExM2I3NWE5LTkyYTAtNGRhYy04M2ZiLTczNzFlZjdhNjhlNTCCASIwDQYJKoZIhvcNAQEBBQADggEPADCCAQoCggEBALUc0ZJ4d9M4R/49EXObuUEWP3iVtPBiehzTW1E87lDszxS3kbVJV2hMcYvPry2ov/eg1sv5gnVHi9Xcu8BtHK9gzqdzaswR6URAvwn8mPinNPgGzuwlIx9XxeTUdr46QimkhJggLHBLl93vSKX53+YbqLgKa9WIs5Y2kwXPSAbQ6fdm3/mf8lFIJMih48d/hPaRE65y12NRPICiJ/KG0pUiNjPMyePG3B6r1zA4HaHVPpIGdZgAzIikjcF8UIM2RpcEzKsyW2JKDaFFBHNrg+2Si6ZD/BIed6Iv+Gz08UtDUGhghzWcdhWyAU6uqpp1YYVS3d1Y773ut/itO0OmwncCAwEAAaM/MD0wDgYDVR0PAQH/BAQDAgeAMB0GA1UdDgQWBBSO53FauYTBJ5qPG+hQS/xEI5/UDTAMBgNVHRMBAf8EAjAAMA0GCSqGSIb3DQEBCwUAA4IBAQAH8r5K8TOA9qIEhpSstG6GO+M6KTFulLGbyl4GA46YcbuNZqjmqbAI54nEwnpEIDH7IHBMU91z/5YZHsCOzvl9iMnEi04qo7VF+bRbtbrtc0Ku0IFI0bwEgaKmEtzroHgIj9W7wMRofQplougGfMgYkpUCXoIKw7A1wBuV0aqQFE8naa6LgT/P9Ac+xU9xhyWIc8R/AURn01M+24PSWbW9J4M1XKzD2KbzMzGqlfl9Rdrc7zNfVsDKa9513ikdpoCJymMmRNHT6fBrEYbaLy+u2Qzh804Eyr1xcVasZk3paWosUJUatPW1KaHwC+3yle3qO/wSyLdMyS4a/av1UYN4","created":1795847213,"kid":"nNDwEtqR_eX2iqGlKsYCLeJp6J0","published_until":null,"sealed":"Alnql0CL6YQQ+/MAgYBqZN9PEZqMYPVqlAcOiONQWzqDNRIoDMeA6JSpA2wO2eKlH7w1N43f2N5EyX1EOw==.AUaJSNGpQ/FeBrctEuHYzSgC/lOFr3JPDGhBfh5JzbnEhHKFktr9MD/I5Pjqp/20ppeAvpgwE8BMRelCdfvwBd76TEsTRntnrHbvlitbbn1v++J2sNjIVP7ve3JNF4ggKNCUA4/wPT4bqv0uFo/++ttNeupge5Az7SJ0ZRllguSE9+I91B7VyBZb//8WFjH3REx6NRYnR8+VR2RS0k4aVD/sg14VKZVGWuLS2fHTkgR3kZvRYjX2s89tJdThUZnu+jHNQ0zgcV5Z26XJzfgk6gD9xYRZ/wF+sM5v3rO/5/t7ejXUR3MFha7Ui05t/AIGx8B+QIGVlZWtt8fMyl7ySRmAboBXho7N58+4bUzQa/gUL8E8yu0w0BUxl8PfiTj/tUvsaUfY9zRnJCa2Z0eEMfcWK6oWyJW6FnlIIyruWR9XE0FWdF4d0woq2vog0hjQpIhXe5S4oysO/UiuXRHVJTNzrwCzZzclaV52WTCpNDOazJeXIznZClq4LaX4GWsPVgpZgwT5FA0WMJvKEMb0+p8RwyMRb0I9zdEZECcc7G+WyAQzz89L7dRqSaVN1QetY0D/VDLf7JouIJKvJaM22R+3pGvp0V+GtiSwOgbTvfhAgMWc6dycV2XfgvxrV/H6dvEaFqtuNxbce4p3SpmpBJt6k7XYr4uU2LKprLLNCkt4Jp9rLz/TtXmpF37RFntbb5nCwcbRE3ch1Eley/1wFbSHlfWEBKsYcJXI1WfXMI/KNHcYistmxJhFW1KFzlaf7Upo6JwVws3IrYGuRXv4RldruKeLbCx4NI0ImzB/n/TcmYJWiisHNdn8InJiJMOaiMrdDnHuDFaUm2sX+pvU3d2+P8eGLjnH9VshT5gB1KqkeBoma5EiXX4zCBY7r++dU3VFAzT7iBIxfCFB5c4RS3rnM6WXBi3xRQ0mIlzuDirPFa/wP+95/xgCVWVZBCpro5rOIUVkGrZRJUbiWrlPpc3UrDN+bomSemOHj9JEd+//sO0VPNc5CHu55m8Uk3LMKfkPetvi7k2C+m4NdjU+kpfnSJyy5oGkybfxN18GMSuDO4nUGd+b7wpStJdT10Qp0Ak/CUfyUBoSXZLNlN1F1vsgFrngyTS0xfQiQone8hhPVzwKWqmllb7vON45SN9ENE3ezP4sQVTMMrtI06xRme3DZ3ZvFIfC7Kf9xrN9Lqwf1BKqoQmMLhnYAI+HWNeRAEkiybCgmYfkkW9XN30IIiFzB4jehEtuJoVqCiS+AnSwMANc2XzHtn8KwzX6hX9I8O2C3xd6TVYqmdF1Vh1/e9SbFNYOG1BO8wRpv5aVae++XGGyT8vpE+9TLIiyyOxsTTSBEOl3MmsEDsA/Jwhr/Ma2KpWPRd272Ixh78coU1mySuqyKPAtZvPIhvlkfhWwPAlj8QXhYeVmwWa6fSglDI5Ew0Qjsx3OI8srNFRMPG+TJGG7Ti+3pmCRx5ZsdOOZ4qzKvRvaIse7B0SviX5QOfmEM+7Ha496Hj893A8n8gKh0xuvzmbUKbvUkpwmRwIe9b+AzjAEb1yFl+0fPSbz6bPdvKVaJELxcHqPYCpzSlW/9rgozRcAqqau+XUwBe6xXskv5k3gJhLP/fu/5gJYxQY31fIr1Hh0W3emYBh+pRbfWFDCjlMONDJ5nxcpodA=","signs_from":1795847214,"signs_until":null,"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5"}', 11, '\x00e4feb76edcb53f79a5c96fdc1dbfc94b71a91e8fef659a20a53a8899102894');



INSERT INTO public.subscriptions VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '0c741e1c-42da-484f-b01d-e55736c9cb32', '0c741e1c-42da-484f-b01d-e55736c9cb32', '{"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","id":"0c741e1c-42da-484f-b01d-e55736c9cb32","display_name":"tenant.denizen.test","created":1795847213}', 1, '\x09828bba9ad12be6035848723efb846b1751154b1781162b6dcffb48fac299ac');



INSERT INTO public.tenants VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '113b75a9-92a0-4dac-83fb-7371ef7a68e5', 'tenant.denizen.test', '{"id":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","domain":"tenant.denizen.test","display_name":"tenant.denizen.test","sealed_kek":"Aqfga8D2oFHeOAv20PQWZRMsSMFxggKximPU1U9MptDo5EbM/Xg/xSYYYRMd9YNDg/PUer9NLvBJImO+JQ==","created":1795847213}', 1, '\x6685be7489b12708182255894f5359425ceca84a0e6acc7eaf11ee46a1c88ebd');



INSERT INTO public.vaults VALUES ('113b75a9-92a0-4dac-83fb-7371ef7a68e5', '/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourcegroups/servers/providers/microsoft.keyvault/vaults/main', 'main', '{"tenant":"113b75a9-92a0-4dac-83fb-7371ef7a68e5","id":"/subscriptions/0c741e1c-42da-484f-b01d-e55736c9cb32/resourceGroups/servers/providers/Microsoft.KeyVault/vaults/main","name":"main","location":"local","sealed_key":"Armhxpo5vuX8QYhBjWusbTD6Cy1ZyrtCgdQ3J6Wq3gBXQNFRTHP86f5GGiXLIoj/DvW4vD9Vbx6UNq3dtw==","retention_days":90,"created":1795847213}', 1, '\xeac7e33e9f333d32f7be06d62297768e550ab89d5c949e2c940a3f13098ad593');



ALTER TABLE ONLY public.application_uris
    ADD CONSTRAINT application_uris_pkey PRIMARY KEY (tenant, uri);



ALTER TABLE ONLY public.applications
    ADD CONSTRAINT applications_pkey PRIMARY KEY (tenant, id);



ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (chain, seq);



ALTER TABLE ONLY public.audit_start
    ADD CONSTRAINT audit_start_pkey PRIMARY KEY (chain);



ALTER TABLE ONLY public.changes
    ADD CONSTRAINT changes_pkey PRIMARY KEY (revision, ordinal);



ALTER TABLE ONLY public.head
    ADD CONSTRAINT head_pkey PRIMARY KEY (id);



ALTER TABLE ONLY public.leases
    ADD CONSTRAINT leases_pkey PRIMARY KEY (name);



ALTER TABLE ONLY public.machines
    ADD CONSTRAINT machines_pkey PRIMARY KEY (tenant, id);



ALTER TABLE ONLY public.one_time
    ADD CONSTRAINT one_time_pkey PRIMARY KEY (tenant, purpose, hash);



ALTER TABLE ONLY public.one_time
    ADD CONSTRAINT one_time_purpose_hash_key UNIQUE (purpose, hash);



ALTER TABLE ONLY public.one_time
    ADD CONSTRAINT one_time_tenant_purpose_id_key UNIQUE (tenant, purpose, id);



ALTER TABLE ONLY public.resource_groups
    ADD CONSTRAINT resource_groups_pkey PRIMARY KEY (tenant, id);



ALTER TABLE ONLY public.role_assignments
    ADD CONSTRAINT role_assignments_pkey PRIMARY KEY (tenant, id);



ALTER TABLE ONLY public.role_definitions
    ADD CONSTRAINT role_definitions_pkey PRIMARY KEY (tenant, id);



ALTER TABLE ONLY public.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (version);



ALTER TABLE ONLY public.secret_versions
    ADD CONSTRAINT secret_versions_pkey PRIMARY KEY (tenant, vault, name, version);



ALTER TABLE ONLY public.secret_versions
    ADD CONSTRAINT secret_versions_tenant_vault_name_ordinal_key UNIQUE (tenant, vault, name, ordinal);



ALTER TABLE ONLY public.secrets
    ADD CONSTRAINT secrets_pkey PRIMARY KEY (tenant, vault, name);



ALTER TABLE ONLY public.service_principals
    ADD CONSTRAINT service_principals_pkey PRIMARY KEY (tenant, id);



ALTER TABLE ONLY public.service_principals
    ADD CONSTRAINT service_principals_tenant_client_id_key UNIQUE (tenant, client_id);



ALTER TABLE ONLY public.signing_keys
    ADD CONSTRAINT signing_keys_pkey PRIMARY KEY (tenant, id);



ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT subscriptions_pkey PRIMARY KEY (tenant, id);



ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT subscriptions_subscription_key UNIQUE (subscription);



ALTER TABLE ONLY public.tenants
    ADD CONSTRAINT tenants_domain_key UNIQUE (domain);



ALTER TABLE ONLY public.tenants
    ADD CONSTRAINT tenants_pkey PRIMARY KEY (tenant, id);



ALTER TABLE ONLY public.vaults
    ADD CONSTRAINT vaults_name_key UNIQUE (name);



ALTER TABLE ONLY public.vaults
    ADD CONSTRAINT vaults_pkey PRIMARY KEY (tenant, id);



CREATE INDEX application_uris_by_application ON public.application_uris USING btree (tenant, application);



CREATE INDEX audit_by_tenant ON public.audit USING btree (tenant, chain, seq);



CREATE INDEX changes_by_kind ON public.changes USING btree (kind, revision);



CREATE INDEX changes_by_parent ON public.changes USING btree (parent, revision);



CREATE INDEX changes_by_tenant ON public.changes USING btree (tenant, revision);



CREATE INDEX secrets_by_purge ON public.secrets USING btree (tenant, purge_at);



ALTER TABLE ONLY public.secret_versions
    ADD CONSTRAINT secret_versions_tenant_vault_name_fkey FOREIGN KEY (tenant, vault, name) REFERENCES public.secrets(tenant, vault, name);



ALTER TABLE ONLY public.secrets
    ADD CONSTRAINT secrets_tenant_vault_fkey FOREIGN KEY (tenant, vault) REFERENCES public.vaults(tenant, id);




