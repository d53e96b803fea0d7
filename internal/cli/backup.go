package cli

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/azure"
	"hallmark.dev/hallmark/internal/instance"
)

// databaseEntry is what the database is called inside a backup.
const databaseEntry = "hallmark.db"

// backupParts are what a backup holds of the data directory beside the
// database. The bytes of images stay where they are: a region's storage root is
// copied as any other directory.
var backupParts = []string{"config.yaml", "network.json", "aliases.json", "keys", "tls"}

func (a *App) backupCommand() *cobra.Command {
	return &cobra.Command{
		Use: "backup FILE", Short: "Write the control plane's state, keys and configuration to a file, while it runs", Args: cobra.ExactArgs(1),
		Long: "Writes a consistent copy of every resource, with the keys and the configuration, to FILE (tar, zstd, mode 0600). It holds\n" +
			"secrets: keep it as you keep a private key. The bytes of images are not in it; see docs/on-disk.md.",
		RunE: func(c *cobra.Command, arguments []string) error { return a.backup(c.Context(), arguments[0]) },
	}
}

func (a *App) backup(ctx context.Context, file string) error {
	dir, err := a.Dir()
	if err != nil {
		return err
	}
	client, _, err := a.connect()
	if err != nil {
		return err
	}
	var copied struct{ Database string }
	if err := client.Do(ctx, azure.Request{Method: "POST", Path: "/providers/Hallmark.Control/backup", APIVersion: apiHallmark}, &copied); err != nil {
		return err
	}
	defer os.Remove(copied.Database)
	if err := writeBackup(file, dir, copied.Database); err != nil {
		return fmt.Errorf("back up to %s: %w", file, err)
	}
	a.progress("Backed up to %s.", file)
	return nil
}

// writeBackup writes beside the file first: half a backup must not look like one.
func writeBackup(file string, dir instance.Dir, database string) (err error) {
	out, err := os.OpenFile(file+".part", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(out.Name())
		}
	}()
	compressed, err := zstd.NewWriter(out)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(compressed)
	err = addFile(archive, database, databaseEntry)
	for _, part := range backupParts {
		err = errors.Join(err, addTree(archive, string(dir), part))
	}
	if err := errors.Join(err, archive.Close(), compressed.Close(), out.Sync(), out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), file)
}

func addTree(archive *tar.Writer, root, part string) error {
	return filepath.WalkDir(filepath.Join(root, part), func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return addFile(archive, path, filepath.ToSlash(name))
	})
}

func addFile(archive *tar.Writer, path, name string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := archive.WriteHeader(&tar.Header{Name: name, Size: info.Size(), Mode: 0o600, ModTime: info.ModTime(), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err = io.Copy(archive, f)
	return err
}

func (a *App) restoreCommand() *cobra.Command {
	return &cobra.Command{
		Use: "restore FILE", Short: "Put a backup into an empty data directory", Args: cobra.ExactArgs(1),
		Example: "  hallmark restore hallmark.backup --data /var/lib/hallmark && hallmark up",
		RunE:    func(_ *cobra.Command, arguments []string) error { return a.restore(arguments[0]) },
	}
}

func (a *App) restore(file string) error {
	dir, err := a.Dir()
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir.Database()); err == nil {
		return &Error{Code: ExitFailed, Err: fmt.Errorf("%s holds a control plane already", dir), Hint: "restore into another directory with --data, or move this one away"}
	}
	if err := dir.Make(); err != nil {
		return err
	}
	// While the lock is held no server starts on half a restore.
	release, err := dir.Lock()
	if err != nil {
		return err
	}
	defer release()
	if err := readBackup(file, dir); err != nil {
		return fmt.Errorf("restore %s: %w", file, err)
	}
	a.progress("Restored into %s. Start it with: hallmark up --data %s", dir, dir)
	return nil
}

func readBackup(file string, dir instance.Dir) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	plain, err := zstd.NewReader(in)
	if err != nil {
		return err
	}
	defer plain.Close()
	root, err := os.OpenRoot(string(dir))
	if err != nil {
		return err
	}
	defer root.Close()
	archive := tar.NewReader(plain)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("not a backup, or a damaged one: %w", err)
		}
		if err := extract(root, header, archive); err != nil {
			return fmt.Errorf("%s: %w", header.Name, err)
		}
	}
}

var errForeign = errors.New("is no part of a backup")

// extract writes one file below the data directory; os.Root keeps a name from
// outside inside, and only what backups hold is taken.
func extract(root *os.Root, header *tar.Header, content io.Reader) error {
	if header.Typeflag != tar.TypeReg || !isBackupPart(header.Name) {
		return errForeign
	}
	if parent := filepath.Dir(filepath.FromSlash(header.Name)); parent != "." {
		if err := root.MkdirAll(parent, 0o700); err != nil {
			return err
		}
	}
	f, err := root.OpenFile(filepath.FromSlash(header.Name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Sync(), f.Close())
}

func isBackupPart(name string) bool {
	if name == databaseEntry {
		return true
	}
	for _, part := range backupParts {
		if name == part || strings.HasPrefix(name, part+"/") {
			return true
		}
	}
	return false
}
