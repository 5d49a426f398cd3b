/** The ledger's versions, in order; a released one is never changed again. */
import { type Kysely, sql } from "kysely";
import type { Migration } from "kysely/migration";

const first: Migration = {
  up: async (db: Kysely<unknown>) => {
    const schema = db.schema;
    await schema
      .createTable("mailbox")
      .addColumn("name", "text", (c) => c.primaryKey())
      .addColumn("uid_validity", "text", (c) => c.notNull())
      .addColumn("uid", "integer", (c) => c.notNull())
      .addColumn("since", "text")
      .addColumn("until", "integer", (c) => c.notNull())
      .addColumn("swept_at", "text")
      .execute();
    await schema
      .createTable("message")
      .addColumn("id", "text", (c) => c.primaryKey())
      .addColumn("size", "integer", (c) => c.notNull())
      .addColumn("received_at", "text", (c) => c.notNull())
      .addColumn("facts", "text")
      .addColumn("faults", "text", (c) => c.notNull())
      .execute();
    await schema
      .createTable("arrival")
      .addColumn("id", "integer", (c) => c.primaryKey().autoIncrement())
      .addColumn("mailbox", "text", (c) => c.notNull())
      .addColumn("uid_validity", "text", (c) => c.notNull())
      .addColumn("uid", "integer", (c) => c.notNull())
      .addColumn("message", "text", (c) => c.references("message.id"))
      .addColumn("received_at", "text")
      .addColumn("seen_at", "text", (c) => c.notNull())
      .addColumn("fault", "text")
      .addUniqueConstraint("arrival_origin", ["mailbox", "uid_validity", "uid"])
      .execute();
    await schema.createIndex("arrival_message").on("arrival").column("message").execute();
    await schema
      .createTable("part")
      .addColumn("message", "text", (c) => c.notNull().references("message.id"))
      .addColumn("position", "integer", (c) => c.notNull())
      .addColumn("id", "text", (c) => c.notNull())
      .addColumn("parent", "text")
      .addColumn("role", "text", (c) => c.notNull())
      .addColumn("filename", "text")
      .addColumn("content_type", "text", (c) => c.notNull())
      .addColumn("sniffed_type", "text")
      .addColumn("disposition", "text")
      .addColumn("content_id", "text")
      .addColumn("sha256", "text", (c) => c.notNull())
      .addColumn("size", "integer", (c) => c.notNull())
      .addPrimaryKeyConstraint("part_key", ["message", "id"])
      .execute();
    await schema
      .createTable("document")
      .addColumn("id", "text", (c) => c.primaryKey())
      .addColumn("message", "text", (c) => c.notNull().references("message.id"))
      .addColumn("position", "integer", (c) => c.notNull())
      .addColumn("service", "text", (c) => c.notNull())
      .addColumn("whole", "integer", (c) => c.notNull())
      .addColumn("parts", "text", (c) => c.notNull())
      .execute();
    await schema.createIndex("document_message").on("document").column("message").execute();
    await schema
      .createTable("result")
      .addColumn("document", "text", (c) => c.primaryKey().references("document.id"))
      .addColumn("service", "text", (c) => c.notNull())
      .addColumn("run_id", "text")
      .addColumn("data", "text", (c) => c.notNull())
      .addColumn("raw", "text", (c) => c.notNull())
      .addColumn("at", "text", (c) => c.notNull())
      .execute();
    await schema
      .createTable("receipt")
      .addColumn("key", "text", (c) => c.primaryKey())
      .addColumn("document", "text", (c) => c.notNull().references("document.id"))
      .addColumn("sink", "text", (c) => c.notNull())
      .addColumn("receipt", "text", (c) => c.notNull())
      .addColumn("at", "text", (c) => c.notNull())
      .execute();
    await schema
      .createTable("task")
      .addColumn("id", "integer", (c) => c.primaryKey().autoIncrement())
      .addColumn("kind", "text", (c) => c.notNull())
      .addColumn("subject", "text", (c) => c.notNull())
      .addColumn("message", "text", (c) => c.notNull().references("message.id"))
      .addColumn("status", "text", (c) => c.notNull())
      .addColumn("attempts", "integer", (c) => c.notNull())
      .addColumn("failing_since", "text")
      .addColumn("due_at", "text", (c) => c.notNull())
      .addColumn("memo", "text")
      .addColumn("fault", "text")
      .addColumn("created_at", "text", (c) => c.notNull())
      .addColumn("updated_at", "text", (c) => c.notNull())
      .addUniqueConstraint("task_subject", ["kind", "subject"])
      .execute();
    await schema.createIndex("task_message").on("task").column("message").execute();
    await schema.createIndex("task_due").on("task").column("due_at").where(sql.ref("status"), "=", sql.lit("open")).execute();
    await schema
      .createTable("event")
      .addColumn("id", "integer", (c) => c.primaryKey().autoIncrement())
      .addColumn("at", "text", (c) => c.notNull())
      .addColumn("message", "text")
      .addColumn("mailbox", "text")
      .addColumn("what", "text", (c) => c.notNull())
      .addColumn("subject", "text")
      .addColumn("note", "text")
      .addColumn("fault_code", "text")
      .execute();
    await schema.createIndex("event_message").on("event").column("message").execute();
    await schema
      .createTable("pulse")
      .addColumn("id", "integer", (c) => c.primaryKey())
      .addColumn("body", "text", (c) => c.notNull())
      .execute();
  },
};

const money: Migration = {
  up: async (db: Kysely<unknown>) => {
    const schema = db.schema;
    for (const column of ["credits", "reasoning", "review"] as const) {
      await schema
        .alterTable("result")
        .addColumn(column, column === "credits" ? "real" : "text")
        .execute();
    }
    await schema.alterTable("task").addColumn("run_id", "text").execute();
    await schema
      .alterTable("task")
      .addColumn("released", "integer", (c) => c.notNull().defaultTo(0))
      .execute();
    await schema.createIndex("task_run").on("task").column("run_id").execute();
    await schema
      .createTable("run")
      .addColumn("key", "text", (c) => c.primaryKey())
      .addColumn("document", "text", (c) => c.notNull().references("document.id"))
      .addColumn("service", "text", (c) => c.notNull())
      .addColumn("mailbox", "text", (c) => c.notNull())
      .addColumn("run_id", "text")
      .addColumn("credits", "real")
      .addColumn("possibly_twice", "integer", (c) => c.notNull())
      .addColumn("at", "text", (c) => c.notNull())
      .execute();
    await schema.createIndex("run_service").on("run").columns(["service", "at"]).execute();
    await schema.createIndex("run_document").on("run").column("document").execute();
    await schema
      .createTable("service")
      .addColumn("name", "text", (c) => c.primaryKey())
      .addColumn("paused_at", "text", (c) => c.notNull())
      .addColumn("why", "text", (c) => c.notNull())
      .execute();
    await schema
      .createTable("webhook")
      .addColumn("service", "text", (c) => c.notNull())
      .addColumn("event_id", "text", (c) => c.notNull())
      .addColumn("at", "text", (c) => c.notNull())
      .addPrimaryKeyConstraint("webhook_key", ["service", "event_id"])
      .execute();
    // Runs of the first version are known from the memos of their tasks.
    await sql`UPDATE task SET run_id = json_extract(memo, '$.runId') WHERE kind = 'extract' AND memo IS NOT NULL`.execute(db);
    await sql`
      INSERT INTO run (key, document, service, mailbox, run_id, credits, possibly_twice, at)
      SELECT task.subject || '/' || task.run_id, task.subject, document.service,
             coalesce((SELECT mailbox FROM arrival WHERE arrival.message = task.message ORDER BY arrival.id LIMIT 1), ''),
             task.run_id, NULL, 0, task.created_at
      FROM task JOIN document ON document.id = task.subject
      WHERE task.kind = 'extract' AND task.run_id IS NOT NULL`.execute(db);
  },
};

/** Tasks are taken by kind: fifty thousand that wait to be split must not be passed over to find one to deliver. */
const kinds: Migration = {
  up: async (db: Kysely<unknown>) => {
    const index = db.schema.createIndex("task_kind_due").on("task").columns(["kind", "due_at"]);
    await index.where(sql.ref("status"), "=", sql.lit("open")).execute();
  },
};

/** Messages go their own ways, deliveries keep their order, and one may tell of a whole message. */
const ways: Migration = {
  up: async (db: Kysely<unknown>) => {
    const schema = db.schema;
    await schema.alterTable("message").addColumn("route", "text").execute();
    await schema.alterTable("service").renameTo("paused").execute();
    await schema.alterTable("task").addColumn("sink", "text").execute();
    await schema.alterTable("task").addColumn("position", "integer").execute();
    // The keys so far: 64 characters of the message, a dot, the position, a dot, the sink.
    await sql`
      UPDATE task SET position = CAST(substr(subject, 66) AS INTEGER),
                      sink = substr(subject, 66 + instr(substr(subject, 66), '.'))
      WHERE kind = 'deliver'`.execute(db);
    await schema
      .createTable("receipt_of_any")
      .addColumn("key", "text", (c) => c.primaryKey())
      .addColumn("message", "text", (c) => c.notNull().references("message.id"))
      .addColumn("document", "text", (c) => c.references("document.id"))
      .addColumn("sink", "text", (c) => c.notNull())
      .addColumn("receipt", "text", (c) => c.notNull())
      .addColumn("at", "text", (c) => c.notNull())
      .execute();
    await sql`
      INSERT INTO receipt_of_any (key, message, document, sink, receipt, at)
      SELECT key, document.message, document, sink, receipt, at FROM receipt JOIN document ON document.id = receipt.document`.execute(db);
    await schema.dropTable("receipt").execute();
    await schema.alterTable("receipt_of_any").renameTo("receipt").execute();
    await schema.createIndex("receipt_message").on("receipt").column("message").execute();
    await schema.createIndex("receipt_sink").on("receipt").columns(["sink", "at"]).execute();
  },
};

/** What may have been done twice is on the bill of a document also when no run of it was ever bought. */
const doubts: Migration = {
  up: async (db: Kysely<unknown>) => {
    await db.schema
      .alterTable("run")
      .addColumn("only_doubt", "integer", (c) => c.notNull().defaultTo(0))
      .execute();
  },
};

/** What has had its time is removed. Each index holds the messages, in the order they came, that have it still. */
const keep: Migration = {
  up: async (db: Kysely<unknown>) => {
    const schema = db.schema;
    for (const kept of ["raw", "parts", "results", "events"])
      await schema.alterTable("message").addColumn(`${kept}_gone_at`, "text").execute();
    for (const kept of ["raw", "parts", "results"]) {
      const index = schema.createIndex(`message_${kept}`).on("message").column(`${kept}_gone_at`);
      await index.where(sql.ref(`${kept}_gone_at`), "is", null).execute();
    }
    await schema.createIndex("part_sha256").on("part").column("sha256").execute();
  },
};

/** A person can have a message fetched after all. */
const again: Migration = {
  up: async (db: Kysely<unknown>) => {
    await db.schema.alterTable("arrival").addColumn("again", "text").execute();
    const index = db.schema.createIndex("arrival_again").on("arrival").column("mailbox");
    await index.where(sql.ref("again"), "is not", null).execute();
  },
};

/** A person can give a mail up, or an arrival without bytes; and looks for what is not done among everything that ever was. */
const ignored: Migration = {
  up: async (db: Kysely<unknown>) => {
    const index = db.schema.createIndex("task_left").on("task").columns(["message", "status"]);
    await index.where(sql.ref("status"), "!=", sql.lit("done")).execute();
    for (const table of ["message", "arrival"]) await db.schema.alterTable(table).addColumn("ignored", "text").execute();
  },
};

/** What is removed from the spool is told before it goes, so that a crash between the two leaves nothing behind. */
const removals: Migration = {
  up: async (db: Kysely<unknown>) => {
    const table = db.schema.createTable("removal");
    const columns = table.addColumn("shelf", "text", (c) => c.notNull()).addColumn("sha256", "text", (c) => c.notNull());
    await columns.addPrimaryKeyConstraint("removal_key", ["shelf", "sha256"]).execute();
  },
};

/** What a backfill brings comes after what comes by itself. */
const ranks: Migration = {
  up: async (db: Kysely<unknown>) => {
    const { schema } = db;
    for (const table of ["message", "task"]) {
      const rank = schema.alterTable(table).addColumn("rank", "integer", (c) => c.notNull().defaultTo(0));
      await rank.execute();
    }
    await schema.dropIndex("task_kind_due").execute();
    const index = schema.createIndex("task_rank_due").on("task").columns(["kind", "rank", "due_at"]);
    await index.where(sql.ref("status"), "=", sql.lit("open")).execute();
  },
};

export const migrations: Readonly<Record<string, Migration>> = {
  "0001-first": first,
  "0002-money": money,
  "0003-kinds": kinds,
  "0004-ways": ways,
  "0005-doubts": doubts,
  "0006-keep": keep,
  "0007-again": again,
  "0008-ignored": ignored,
  "0009-removals": removals,
  "0010-ranks": ranks,
};
