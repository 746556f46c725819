-- Rows that are gone and still take room in a table, and whether vacuum is at it.
-- name: dead_rows
SELECT pg_stat_get_dead_tuples(to_regclass($1)),
       EXISTS (SELECT 1 FROM pg_stat_progress_vacuum WHERE relid = to_regclass($1))

-- Who keeps vacuum from removing them: the oldest view of the data that anybody may still look at.
-- name: oldest_view
SELECT kind, who, name, state, seconds FROM (
    SELECT 'process' AS kind, pid::text AS who, application_name AS name, state,
           extract(epoch FROM clock_timestamp() - coalesce(xact_start, query_start))::float8 AS seconds,
           age(backend_xmin) AS behind
    FROM pg_stat_activity
    WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()
          AND (datname = current_database() OR backend_type = 'walsender')
    UNION ALL
    SELECT 'prepared transaction', gid, owner::text, 'prepared',
           extract(epoch FROM clock_timestamp() - prepared)::float8, age(transaction)
    FROM pg_prepared_xacts WHERE database = current_database()
    UNION ALL
    SELECT 'replication slot', slot_name::text, coalesce(plugin, slot_type)::text,
           CASE WHEN active THEN 'in use' ELSE 'not in use' END, NULL, age(xmin)
    FROM pg_replication_slots WHERE xmin IS NOT NULL) AS views
ORDER BY behind DESC LIMIT 1
