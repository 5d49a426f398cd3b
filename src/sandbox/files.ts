/** Files held in memory: until they are removed, or until there are too many and the oldest is forgotten. */

export type Held = {
  readonly id: string;
  /** Null once it was removed or forgotten. */
  bytes: Uint8Array | null;
};

export type Limits = { readonly mostKept: number; readonly mostBytes: number };

export type Files<File extends Held> = {
  readonly add: (file: File) => File;
  readonly get: (id: string) => File | null;
  readonly remove: (file: File) => void;
  /** Earliest first. */
  readonly all: () => readonly File[];
};

export function createFiles<File extends Held>({ mostKept, mostBytes }: Limits): Files<File> {
  const files = new Map<string, File>();
  let heldBytes = 0;

  function remove(file: File): void {
    heldBytes -= file.bytes?.length ?? 0;
    file.bytes = null;
    files.delete(file.id);
  }

  return {
    add: (file) => {
      files.set(file.id, file);
      heldBytes += file.bytes?.length ?? 0;
      for (const oldest of files.values()) {
        if (files.size <= mostKept && heldBytes <= mostBytes) break;
        remove(oldest);
      }
      return file;
    },
    get: (id) => files.get(id) ?? null,
    remove,
    all: () => [...files.values()],
  };
}
