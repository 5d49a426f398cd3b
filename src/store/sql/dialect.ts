/** SQLite as the ledger needs it: transactions that own the file from their first statement, migrations that are all or nothing. */
import type { Database, Statement } from "better-sqlite3";
import { CompiledQuery, type DatabaseConnection, type Dialect, SqliteDialect } from "kysely";

export function ledgerDialect(database: Database): Dialect {
  const dialect = new SqliteDialect({ database: { prepare: preparing(database), close: () => database.close() } });
  const say = (connection: DatabaseConnection, what: string) => connection.executeQuery(CompiledQuery.raw(what));
  return {
    createQueryCompiler: () => dialect.createQueryCompiler(),
    createIntrospector: (db) => dialect.createIntrospector(db),
    // SQLite rolls back CREATE TABLE like anything else; Kysely only believes it when it is told.
    createAdapter: () => Object.defineProperty(dialect.createAdapter(), "supportsTransactionalDdl", { value: true }),
    createDriver: () =>
      Object.assign(dialect.createDriver(), {
        // A deferred transaction that reads first cannot wait for another writer: it fails with SQLITE_BUSY_SNAPSHOT at once.
        beginTransaction: async (connection: DatabaseConnection) => void (await say(connection, "begin immediate")),
        // On a full disk SQLite may have rolled back already; a second rollback would hide why.
        rollbackTransaction: async (connection: DatabaseConnection) => {
          if (database.inTransaction) await say(connection, "rollback");
        },
      }),
  };
}

const MOST_PREPARED = 200;

/** The same few statements are asked for thousands of times: each is compiled once, those used last are kept. */
function preparing(database: Database): (text: string) => Statement {
  const prepared = new Map<string, Statement>();
  return (text) => {
    const statement = prepared.get(text) ?? database.prepare(text);
    prepared.delete(text);
    prepared.set(text, statement);
    for (const oldest of prepared.keys()) if (prepared.size > MOST_PREPARED) prepared.delete(oldest);
    return statement;
  };
}
