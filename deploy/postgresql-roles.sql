-- PostgreSQL's own permissions for the three roles: the boundary that Hisbundle's roles are not.
-- Run as the owner of the database, connected to it, after `hisbundle migrate`; safe to repeat.
-- Make logins as members:   CREATE ROLE anna LOGIN IN ROLE hisbundle_viewer;
-- The service itself (serve, worker) and admins are members of hisbundle_admin.

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['hisbundle_viewer', 'hisbundle_operator', 'hisbundle_admin'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        END IF;
        EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', name);
    END LOOP;
END $$;

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC;

-- Viewers: states, counts, the audit log; of tables that name patients only the columns that do not.
-- They write audit entries, because what a command refuses them is told there; they seal and change none.
-- `retention show` looks for ECGs of held patients by their numbers: it takes an operator's login.
GRANT SELECT ON alembic_version, alert, assessment, audit, circuit, delivery, discard, encryption_key, fhir_cursor,
    fhir_seen, fhir_source, fhir_subscription, import_run, model_stop, stream_window TO hisbundle_viewer;
GRANT INSERT ON audit TO hisbundle_viewer;
GRANT USAGE ON SEQUENCE audit_id_seq TO hisbundle_viewer;
GRANT SELECT (id, protocol, sender, control_id, state, reason, received_at, original_size, sha256,
    conflict_at) ON message TO hisbundle_viewer;
GRANT SELECT (id, message_id, ordinal, state, reason, acquired_at, acquired_on, received_at,
    rung_at, attempts, priority, silent) ON exam TO hisbundle_viewer;
GRANT SELECT (id, message_id, sender, sampling_rate_hz, state, heard_at, watermark) ON stream TO hisbundle_viewer;
GRANT SELECT (exam_id, version, status, issued_at) ON report TO hisbundle_viewer;
GRANT SELECT (id, created_at, actor, stage, state, matched, succeeded, failed, cursor, finished_at)
    ON replay TO hisbundle_viewer;
GRANT SELECT (id, at, actor, why, exam_id) ON hold TO hisbundle_viewer;
GRANT SELECT (exam_id) ON waveform TO hisbundle_viewer;  -- whether an ECG still has its samples

-- Operators: read all, write what replays, imports and reviews write; delete nothing but a model's
-- stop, change no audit entry.
GRANT SELECT ON ALL TABLES IN SCHEMA public TO hisbundle_operator;
GRANT INSERT ON ALL TABLES IN SCHEMA public TO hisbundle_operator;
GRANT UPDATE ON message, exam, report, delivery, replay, import_run, alert, model_stop TO hisbundle_operator;
REVOKE INSERT ON alembic_version, encryption_key, hold FROM hisbundle_operator;
GRANT DELETE ON model_stop TO hisbundle_operator;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO hisbundle_operator;

-- Admins and the service: everything but the schema, which its owner migrates.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO hisbundle_admin;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO hisbundle_admin;
