package cli

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/attest"
)

func (a *App) keyCommand() *cobra.Command {
	command := &cobra.Command{Use: "key", Short: "Look after the keys that sign tattoos and statements"}
	command.AddCommand(
		&cobra.Command{
			Use: "export", Short: "Print every public key that is trusted, as PEM", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return a.keyExport() },
		},
		&cobra.Command{
			Use: "rotate", Short: "Sign with a new key from now on; old keys go on verifying", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return a.keyRotate() },
		},
		&cobra.Command{
			Use: "trust FILE", Short: "Trust another installation's public key", Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, arguments []string) error { return a.keyTrust(arguments[0]) },
		},
	)
	return command
}

func (a *App) keys() (*attest.Keys, error) {
	dir, err := a.Dir()
	if err != nil {
		return nil, err
	}
	return attest.OpenKeys(dir.SigningKeys())
}

func (a *App) keyExport() error {
	keys, err := a.keys()
	if err != nil {
		return err
	}
	trusted, err := keys.Trusted()
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(trusted)) {
		pem, err := trusted[id].MarshalPEM()
		if err != nil {
			return err
		}
		fmt.Fprintf(a.Out, "# %s\n%s", id, pem)
	}
	return nil
}

func (a *App) keyRotate() error {
	keys, err := a.keys()
	if err != nil {
		return err
	}
	key, err := keys.Rotate()
	if err != nil {
		return err
	}
	return a.print(map[string]string{"keyId": key.ID}, column{"KeyId", "keyId"})
}

func (a *App) keyTrust(file string) error {
	pem, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read the key: %w", err)
	}
	key, err := attest.ParsePublicKey(bytes.TrimSpace(pem))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	keys, err := a.keys()
	if err != nil {
		return err
	}
	return keys.Trust(key)
}
