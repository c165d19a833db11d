-- The warehouse that version 0.4 made of the miniature, without its texts.
BEGIN TRANSACTION;
CREATE TABLE data_dictionary (
    table_name TEXT NOT NULL,
    column_name TEXT NOT NULL,
    type TEXT NOT NULL,
    description TEXT NOT NULL,
    PRIMARY KEY (table_name, column_name)
);
CREATE TABLE dim_application_instance (
	app_instance_id INTEGER NOT NULL,
	app_type_ref_id INTEGER NOT NULL,
	app_type_id INTEGER NOT NULL,
	unit_id INTEGER NOT NULL,
	CONSTRAINT pk_dim_application_instance PRIMARY KEY (app_instance_id),
	CONSTRAINT fk_dim_application_instance_app_type_id FOREIGN KEY(app_type_id) REFERENCES dim_application_type (app_type_id),
	CONSTRAINT fk_dim_application_instance_unit_id FOREIGN KEY(unit_id) REFERENCES dim_unit (unit_id)
);
INSERT INTO "dim_application_instance" VALUES(-1,-1,-1,-1);
INSERT INTO "dim_application_instance" VALUES(100,0,1,7);
INSERT INTO "dim_application_instance" VALUES(101,11,3,7);
INSERT INTO "dim_application_instance" VALUES(102,12,4,8);
INSERT INTO "dim_application_instance" VALUES(103,13,-1,9);
INSERT INTO "dim_application_instance" VALUES(104,-1,-1,-1);
INSERT INTO "dim_application_instance" VALUES(105,0,1,7);
CREATE TABLE dim_application_type (
	app_type_id INTEGER NOT NULL,
	app_type_description TEXT NOT NULL,
	CONSTRAINT pk_dim_application_type PRIMARY KEY (app_type_id)
);
INSERT INTO "dim_application_type" VALUES(-1,'Unknown');
INSERT INTO "dim_application_type" VALUES(1,'Dairy Case');
INSERT INTO "dim_application_type" VALUES(2,'(no name)');
INSERT INTO "dim_application_type" VALUES(3,'Suction Group');
INSERT INTO "dim_application_type" VALUES(4,'Fan, Condenser');
CREATE TABLE dim_log_instance (
	point_log_inst_id INTEGER NOT NULL,
	point_id INTEGER NOT NULL,
	app_instance_id INTEGER NOT NULL,
	app_type_id INTEGER NOT NULL,
	unit_id INTEGER NOT NULL,
	eng_unit_id INTEGER,
	log_interval INTEGER,
	CONSTRAINT pk_dim_log_instance PRIMARY KEY (point_log_inst_id),
	CONSTRAINT fk_dim_log_instance_app_instance_id FOREIGN KEY(app_instance_id) REFERENCES dim_application_instance (app_instance_id),
	CONSTRAINT fk_dim_log_instance_app_type_id FOREIGN KEY(app_type_id) REFERENCES dim_application_type (app_type_id),
	CONSTRAINT fk_dim_log_instance_unit_id FOREIGN KEY(unit_id) REFERENCES dim_unit (unit_id)
);
INSERT INTO "dim_log_instance" VALUES(-1,-1,-1,-1,-1,NULL,NULL);
INSERT INTO "dim_log_instance" VALUES(1,1000,100,1,7,2,180);
INSERT INTO "dim_log_instance" VALUES(2,1001,101,3,7,2,180);
INSERT INTO "dim_log_instance" VALUES(3,1002,102,4,8,74,60);
INSERT INTO "dim_log_instance" VALUES(4,1003,103,-1,9,2,180);
INSERT INTO "dim_log_instance" VALUES(5,1004,104,-1,-1,2,180);
INSERT INTO "dim_log_instance" VALUES(6,1005,-1,-1,-1,2,180);
INSERT INTO "dim_log_instance" VALUES(7,1006,100,1,7,NULL,5400);
INSERT INTO "dim_log_instance" VALUES(8,8888,-1,-1,-1,2,180);
CREATE TABLE dim_unit (
	unit_id INTEGER NOT NULL,
	unit_name TEXT NOT NULL,
	CONSTRAINT pk_dim_unit PRIMARY KEY (unit_id)
);
INSERT INTO "dim_unit" VALUES(-1,'Unknown');
INSERT INTO "dim_unit" VALUES(7,'Unit 7');
INSERT INTO "dim_unit" VALUES(8,'Unit 8');
INSERT INTO "dim_unit" VALUES(9,'Unit 9');
CREATE TABLE fact_logs (
	log_id INTEGER NOT NULL,
	unit_id INTEGER NOT NULL,
	app_instance_id INTEGER NOT NULL,
	app_type_id INTEGER NOT NULL,
	point_id INTEGER NOT NULL,
	point_log_inst_id INTEGER NOT NULL,
	recorded_at DATETIME,
	value DOUBLE,
	status TEXT,
	log_kind TEXT NOT NULL,
	CONSTRAINT pk_fact_logs PRIMARY KEY (log_id),
	CONSTRAINT fk_fact_logs_unit_id FOREIGN KEY(unit_id) REFERENCES dim_unit (unit_id),
	CONSTRAINT fk_fact_logs_app_instance_id FOREIGN KEY(app_instance_id) REFERENCES dim_application_instance (app_instance_id),
	CONSTRAINT fk_fact_logs_app_type_id FOREIGN KEY(app_type_id) REFERENCES dim_application_type (app_type_id),
	CONSTRAINT fk_fact_logs_point_log_inst_id FOREIGN KEY(point_log_inst_id) REFERENCES dim_log_instance (point_log_inst_id)
);
INSERT INTO "fact_logs" VALUES(1,8,102,4,1002,3,'2024-06-01 00:00:00.000000',1.0,'OK','B');
INSERT INTO "fact_logs" VALUES(2,8,102,4,1002,3,'2024-06-01 00:01:00.000000',0.0,'OK','B');
INSERT INTO "fact_logs" VALUES(3,8,102,4,1002,3,'2024-06-01 00:02:00.000000',NULL,'NO DATA','B');
INSERT INTO "fact_logs" VALUES(4,7,100,1,1006,7,'2024-06-01 01:30:00.000000',1.0,'OK','B');
INSERT INTO "fact_logs" VALUES(5,-1,-1,-1,-1,-1,'2024-06-01 02:00:00.000000',0.0,'OK','B');
INSERT INTO "fact_logs" VALUES(10000000001,7,100,1,1000,1,'2024-06-01 00:00:00.000000',4.5,'OK','F');
INSERT INTO "fact_logs" VALUES(10000000002,7,100,1,1000,1,'2024-05-31 22:03:00.000000',4.75,'OK','F');
INSERT INTO "fact_logs" VALUES(10000000003,7,101,3,1001,2,'2024-06-01 00:00:00.000000',-21.0,'ALARM','F');
INSERT INTO "fact_logs" VALUES(10000000004,7,101,3,1001,2,NULL,-20.5,NULL,'F');
INSERT INTO "fact_logs" VALUES(10000000005,9,103,-1,1003,4,'2024-06-01 00:00:00.250000',100.0,'OK','F');
INSERT INTO "fact_logs" VALUES(10000000006,-1,104,-1,1004,5,'2024-06-02 00:00:00.000000',NULL,'2; POINT FAIL','F');
INSERT INTO "fact_logs" VALUES(10000000007,-1,-1,-1,1005,6,'2024-06-02 00:03:00.000000',3.0,'OK','F');
INSERT INTO "fact_logs" VALUES(10000000008,-1,-1,-1,8888,8,'2024-06-02 00:06:00.000000',4.0,'OK','F');
CREATE TABLE load_receipt (
    table_name TEXT NOT NULL PRIMARY KEY,
    receipt TEXT NOT NULL,
    row_count INTEGER NOT NULL,
    size_bytes INTEGER,
    loaded_at DATETIME NOT NULL
);
INSERT INTO "load_receipt" VALUES('dim_unit','{}',4,16384,'2026-11-26 19:22:08');
INSERT INTO "load_receipt" VALUES('dim_application_type','{}',5,16384,'2026-11-26 19:22:08');
INSERT INTO "load_receipt" VALUES('dim_application_instance','{}',7,16384,'2026-11-26 19:22:09');
INSERT INTO "load_receipt" VALUES('dim_log_instance','{}',9,16384,'2026-11-26 19:22:09');
INSERT INTO "load_receipt" VALUES('fact_logs','{}',13,65536,'2026-11-26 19:22:11');
CREATE TABLE loaded_part (
    number INTEGER NOT NULL PRIMARY KEY,
    part TEXT NOT NULL,
    log_kind TEXT NOT NULL,
    content TEXT NOT NULL,
    load TEXT NOT NULL,
    row_count INTEGER NOT NULL
);
INSERT INTO "loaded_part" VALUES(0,'LOG_RCD_B','B','9dea396f12e925da31f7dabdd7e9c3dc5180c950ab78fb958802abcd5d58e232','e427959b200545c2a60ea093a3bc0b12',5);
INSERT INTO "loaded_part" VALUES(1,'LOG_RCD_F','F','4a28ee2e200b58d3c0a493729e01d336e5b1c700c4ea61a76fd4ab2f173f0458','e427959b200545c2a60ea093a3bc0b12',8);
CREATE TABLE log_tally (
    number INTEGER NOT NULL,
    point_log_inst_id INTEGER NOT NULL,
    log_kind TEXT NOT NULL,
    record_count INTEGER NOT NULL,
    first_recorded_at DATETIME,
    last_recorded_at DATETIME,
    PRIMARY KEY (point_log_inst_id, number)
) WITHOUT ROWID;
INSERT INTO "log_tally" VALUES(1,1,'F',2,'2024-05-31 22:03:00.000000','2024-06-01 00:00:00.000000');
INSERT INTO "log_tally" VALUES(1,2,'F',2,'2024-06-01 00:00:00.000000','2024-06-01 00:00:00.000000');
INSERT INTO "log_tally" VALUES(1,4,'F',1,'2024-06-01 00:00:00.250000','2024-06-01 00:00:00.250000');
INSERT INTO "log_tally" VALUES(1,5,'F',1,'2024-06-02 00:00:00.000000','2024-06-02 00:00:00.000000');
INSERT INTO "log_tally" VALUES(1,6,'F',1,'2024-06-02 00:03:00.000000','2024-06-02 00:03:00.000000');
INSERT INTO "log_tally" VALUES(1,8,'F',1,'2024-06-02 00:06:00.000000','2024-06-02 00:06:00.000000');
CREATE TABLE retained_member (
    table_name TEXT NOT NULL,
    member_key INTEGER NOT NULL,
    PRIMARY KEY (table_name, member_key)
) WITHOUT ROWID;
CREATE INDEX ix_fact_logs_app_instance_id ON fact_logs (app_instance_id);
CREATE INDEX ix_fact_logs_app_type_id ON fact_logs (app_type_id);
CREATE INDEX ix_fact_logs_unit_id ON fact_logs (unit_id);
CREATE TRIGGER dim_application_type_INSERT_voids_receipt AFTER INSERT ON dim_application_type BEGIN DELETE FROM load_receipt WHERE table_name = 'dim_application_type'; END;
CREATE TRIGGER dim_application_type_UPDATE_voids_receipt AFTER UPDATE ON dim_application_type BEGIN DELETE FROM load_receipt WHERE table_name = 'dim_application_type'; END;
CREATE TRIGGER dim_application_type_DELETE_voids_receipt AFTER DELETE ON dim_application_type BEGIN DELETE FROM load_receipt WHERE table_name = 'dim_application_type'; END;
CREATE TRIGGER dim_unit_INSERT_voids_receipt AFTER INSERT ON dim_unit BEGIN DELETE FROM load_receipt WHERE table_name = 'dim_unit'; END;
CREATE TRIGGER dim_unit_UPDATE_voids_receipt AFTER UPDATE ON dim_unit BEGIN DELETE FROM load_receipt WHERE table_name = 'dim_unit'; END;
CREATE TRIGGER dim_unit_DELETE_voids_receipt AFTER DELETE ON dim_unit BEGIN DELETE FROM load_receipt WHERE table_name = 'dim_unit'; END;
CREATE TRIGGER dim_application_instance_INSERT_voids_receipt AFTER INSERT ON dim_application_instance BEGIN DELETE FROM load_receipt WHERE table_name = 'dim_application_instance'; END;
CREATE TRIGGER dim_application_instance_UPDATE_voids_receipt AFTER UPDATE ON dim_application_instance BEGIN DELETE FROM load_receipt WHERE table_name = 'dim_application_instance'; END;
CREATE TRIGGER dim_application_instance_DELETE_voids_receipt AFTER DELETE ON dim_application_instance BEGIN DELETE FROM load_receipt WHERE table_name = 'dim_application_instance'; END;
CREATE TRIGGER dim_log_instance_INSERT_voids_receipt AFTER INSERT ON dim_log_instance BEGIN DELETE FROM load_receipt WHERE table_name = 'dim_log_instance'; END;
CREATE TRIGGER dim_log_instance_UPDATE_voids_receipt AFTER UPDATE ON dim_log_instance BEGIN DELETE FROM load_receipt WHERE table_name = 'dim_log_instance'; END;
CREATE TRIGGER dim_log_instance_DELETE_voids_receipt AFTER DELETE ON dim_log_instance BEGIN DELETE FROM load_receipt WHERE table_name = 'dim_log_instance'; END;
CREATE TRIGGER fact_logs_INSERT_voids_receipt AFTER INSERT ON fact_logs BEGIN DELETE FROM load_receipt WHERE table_name = 'fact_logs'; DELETE FROM loaded_part WHERE number = NEW.log_id / 10000000000; END;
CREATE TRIGGER fact_logs_UPDATE_voids_receipt AFTER UPDATE ON fact_logs BEGIN DELETE FROM load_receipt WHERE table_name = 'fact_logs'; DELETE FROM loaded_part WHERE number = OLD.log_id / 10000000000; DELETE FROM loaded_part WHERE number = NEW.log_id / 10000000000; END;
CREATE TRIGGER fact_logs_DELETE_voids_receipt AFTER DELETE ON fact_logs BEGIN DELETE FROM load_receipt WHERE table_name = 'fact_logs'; DELETE FROM loaded_part WHERE number = OLD.log_id / 10000000000; END;
CREATE TRIGGER log_tally_INSERT_voids_receipt AFTER INSERT ON log_tally BEGIN DELETE FROM load_receipt WHERE table_name = 'fact_logs'; DELETE FROM loaded_part WHERE number = NEW.number; END;
CREATE TRIGGER log_tally_UPDATE_voids_receipt AFTER UPDATE ON log_tally BEGIN DELETE FROM load_receipt WHERE table_name = 'fact_logs'; DELETE FROM loaded_part WHERE number = OLD.number; DELETE FROM loaded_part WHERE number = NEW.number; END;
CREATE TRIGGER log_tally_DELETE_voids_receipt AFTER DELETE ON log_tally BEGIN DELETE FROM load_receipt WHERE table_name = 'fact_logs'; DELETE FROM loaded_part WHERE number = OLD.number; END;
CREATE TRIGGER loaded_part_INSERT_voids_receipt AFTER INSERT ON loaded_part BEGIN DELETE FROM load_receipt WHERE table_name = 'fact_logs'; DELETE FROM loaded_part WHERE number = NEW.number; END;
CREATE TRIGGER loaded_part_UPDATE_voids_receipt AFTER UPDATE ON loaded_part BEGIN DELETE FROM load_receipt WHERE table_name = 'fact_logs'; DELETE FROM loaded_part WHERE number = OLD.number; DELETE FROM loaded_part WHERE number = NEW.number; END;
CREATE TRIGGER loaded_part_DELETE_voids_receipt AFTER DELETE ON loaded_part BEGIN DELETE FROM load_receipt WHERE table_name = 'fact_logs'; DELETE FROM loaded_part WHERE number = OLD.number; END;
COMMIT;
