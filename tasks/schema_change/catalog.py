"""Queries on PostgreSQL's catalog; `t` is the quoted name of a table."""

KEYS = """
SELECT conrelid = CAST(:t AS regclass), conrelid::regclass::text, confrelid::regclass::text,
    conname, replace(pg_get_constraintdef(oid), ' NOT VALID', ''), convalidated
FROM pg_constraint WHERE contype = 'f' AND CAST(:t AS regclass) IN (conrelid, confrelid)
ORDER BY 2, 4
"""
TRIGGERS = """
SELECT tgname, pg_get_triggerdef(oid, true), tgenabled FROM pg_trigger
WHERE tgrelid = CAST(:t AS regclass) AND NOT tgisinternal ORDER BY 1
"""
VIEWS = """
SELECT DISTINCT v.oid::regclass::text, pg_get_viewdef(v.oid),
    coalesce(array_to_string(v.reloptions, ', '), '')
FROM pg_depend JOIN pg_rewrite ON pg_rewrite.oid = objid JOIN pg_class v ON v.oid = ev_class
WHERE classid = 'pg_rewrite'::regclass AND refclassid = 'pg_class'::regclass
AND refobjid = CAST(:t AS regclass) AND v.relkind = 'v' ORDER BY 1
"""
GRANTS = """
SELECT privilege_type, column_name, CASE grantee WHEN 0 THEN 'PUBLIC'
    ELSE quote_ident(pg_get_userbyid(grantee)) END, is_grantable
FROM (SELECT '' AS column_name, (aclexplode(relacl)).* FROM pg_class
WHERE oid = CAST(:t AS regclass)
UNION ALL SELECT quote_ident(attname), (aclexplode(attacl)).* FROM pg_attribute
WHERE attrelid = CAST(:t AS regclass) AND NOT attisdropped) granted ORDER BY 1, 2, 3
"""
INDEXES = """
SELECT i.relname, split_part(pg_get_indexdef(i.oid), format(' ON %I.%I ', n.nspname, c.relname), 2)
    || CASE WHEN indisunique THEN ' UNIQUE' ELSE '' END || coalesce(' ' || contype::text, '')
FROM pg_index JOIN pg_class i ON i.oid = indexrelid JOIN pg_class c ON c.oid = indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_constraint ON conindid = i.oid AND conrelid = c.oid AND contype IN ('p', 'u', 'x')
WHERE indrelid = CAST(:t AS regclass) ORDER BY 2, 1
"""
OTHER = """
SELECT 'comment ' || coalesce(obj_description(CAST(:t AS regclass), 'pg_class'), '')
UNION ALL SELECT 'options ' || coalesce(array_to_string(reloptions, ', '), '') || ' owner '
    || quote_ident(pg_get_userbyid(relowner)) FROM pg_class WHERE oid = CAST(:t AS regclass)
UNION ALL SELECT 'check ' || conname || ' ' || pg_get_constraintdef(oid)
FROM pg_constraint WHERE contype = 'c' AND conrelid = CAST(:t AS regclass)
UNION ALL SELECT 'column ' || attname || ' ' || format_type(atttypid, atttypmod) || ' '
    || attidentity::text || attgenerated::text
    || coalesce(' ' || col_description(attrelid, attnum), '')
FROM pg_attribute WHERE attrelid = CAST(:t AS regclass) AND attnum > 0 AND NOT attisdropped
"""
OBSTACLES = """
SELECT 'it is partitioned, inherits, has children, is unlogged or temporary' FROM pg_class
WHERE oid = CAST(:t AS regclass) AND (relkind <> 'r' OR relispartition OR relhassubclass
    OR relpersistence <> 'p' OR EXISTS (SELECT FROM pg_inherits WHERE inhrelid = oid))
UNION ALL SELECT 'it has policies for rows, which would not move' FROM pg_class
WHERE oid = CAST(:t AS regclass) AND relrowsecurity
UNION ALL SELECT 'it has rules, which would not move' FROM pg_class
WHERE oid = CAST(:t AS regclass) AND relhasrules
UNION ALL SELECT 'it is published for replication' FROM pg_publication_rel
WHERE prrelid = CAST(:t AS regclass)
UNION ALL SELECT 'the materialized view ' || v.oid::regclass::text || ' reads it'
FROM pg_depend JOIN pg_rewrite ON pg_rewrite.oid = objid JOIN pg_class v ON v.oid = ev_class
WHERE refobjid = CAST(:t AS regclass) AND v.relkind = 'm'
UNION ALL SELECT 'the function ' || proname || ' depends on it' FROM pg_depend
JOIN pg_proc ON pg_proc.oid = objid AND classid = 'pg_proc'::regclass
WHERE refobjid = CAST(:t AS regclass)
    OR refobjid = (SELECT reltype FROM pg_class WHERE oid = CAST(:t AS regclass))
UNION ALL SELECT 'a key column is of the type real, which does not compare exactly'
FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY(indkey)
WHERE indisprimary AND indrelid = CAST(:t AS regclass) AND atttypid = 'real'::regtype
"""
TRANSACTIONS = """
SELECT pid, xact_start FROM pg_stat_activity WHERE datname = current_database()
AND pid <> pg_backend_pid() AND backend_xmin IS NOT NULL
"""
PROPERTIES = """
SELECT format('COMMENT ON TABLE %s IS %L', CAST(:s AS text), obj_description(oid, 'pg_class')),
    format('ALTER TABLE %s OWNER TO %I', CAST(:s AS text), pg_get_userbyid(relowner)),
    format('ALTER TABLE %s SET (%s)', CAST(:s AS text), array_to_string(reloptions, ', '))
FROM pg_class WHERE oid = CAST(:t AS regclass)
"""
SEQUENCES = """
SELECT a.attname, a.attidentity, d.objid::regclass::text
FROM pg_depend d JOIN pg_attribute a ON attrelid = refobjid AND attnum = refobjsubid
WHERE d.classid = 'pg_class'::regclass AND refobjid = CAST(:t AS regclass)
AND deptype IN ('a', 'i') AND EXISTS (SELECT FROM pg_sequence WHERE seqrelid = d.objid)
"""
