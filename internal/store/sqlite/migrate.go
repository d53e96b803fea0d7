package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var files embed.FS

// ErrNewer: the file was written by a later version of the program.
var ErrNewer = errors.New("the store was written by a newer version of Hallmark")

// migrate brings the schema up to date. Before it changes one that has data, it copies
// the file to PATH.schemaN, N being the old version, so that the program before can be
// started again.
func migrate(ctx context.Context, db *sql.DB, path string) error {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		return fmt.Errorf("reading migrations: %w", err)
	}
	return migrateWith(ctx, db, path, sub)
}

func migrateWith(ctx context.Context, db *sql.DB, path string, migrations fs.FS) error {
	p, err := goose.NewProvider(goose.DialectSQLite3, db, migrations, goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("reading migrations: %w", err)
	}
	have, err := p.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("reading the schema version: %w", err)
	}
	sources := p.ListSources()
	want := sources[len(sources)-1].Version
	switch {
	case have > want:
		return fmt.Errorf("%w: its schema is %d, this program knows %d; start the newer one, or restore the copy that it took", ErrNewer, have, want)
	case have == want:
		return nil
	case have > 0:
		if err := copyBefore(ctx, db, fmt.Sprintf("%s.schema%d", path, have)); err != nil {
			return err
		}
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrating the schema from %d to %d: %w", have, want, err)
	}
	return nil
}

// copyBefore keeps the copy of an earlier attempt: it is of the state before any of them.
func copyBefore(ctx context.Context, db *sql.DB, path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	return copyTo(path, func(part string) error {
		_, err := db.ExecContext(ctx, vacuumInto, part)
		return err
	})
}

const vacuumInto = `VACUUM INTO ?1`

// copyTo has a consistent copy written to a file that must not exist: complete or not
// there. write fills an empty file.
func copyTo(path string, write func(part string) error) error {
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("copying the store: %s: %w", path, errors.Join(os.ErrExist, err))
	}
	part := path + ".part"
	if err := os.Remove(part); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("copying the store: %w", err)
	}
	// An empty file that is ours only: SQLite would make one that others may read.
	f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("copying the store: %w", err)
	}
	defer os.Remove(part) // gone after the rename
	if err = errors.Join(write(part), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("copying the store to %s: %w", path, err)
	}
	if err := os.Rename(part, path); err != nil {
		return fmt.Errorf("copying the store: %w", err)
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("copying the store: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}
