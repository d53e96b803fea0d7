package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/azure"
	"hallmark.dev/hallmark/internal/instance"
)

// Context is one endpoint that the command line can talk to, with the defaults
// for what a command line leaves out.
type Context struct {
	Name         string `json:"name" yaml:"name"`
	Endpoint     string `json:"endpoint" yaml:"endpoint,omitempty"`
	Authority    string `json:"authority,omitempty" yaml:"authority,omitempty"`
	Tenant       string `json:"tenant,omitempty" yaml:"tenant,omitempty"`
	ClientID     string `json:"clientId,omitempty" yaml:"clientId,omitempty"`
	SecretFile   string `json:"secretFile,omitempty" yaml:"secretFile,omitempty"`
	CAFile       string `json:"caFile,omitempty" yaml:"caFile,omitempty"`
	Subscription string `json:"subscription" yaml:"subscription"`
	Group        string `json:"resourceGroup" yaml:"resourceGroup,omitempty"`
	Location     string `json:"location" yaml:"location,omitempty"`
}

type contextFile struct {
	Current  string    `yaml:"current"`
	Contexts []Context `yaml:"contexts"`
}

func contextPath() (string, error) {
	if path := os.Getenv("HALLMARK_CONFIG"); path != "" {
		return path, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("where the contexts are kept: %w; set HALLMARK_CONFIG to a file", err)
	}
	return filepath.Join(dir, "hallmark", "contexts.yaml"), nil
}

func loadContexts() (contextFile, error) {
	var file contextFile
	path, err := contextPath()
	if err != nil {
		return file, err
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return file, nil
	}
	if err != nil {
		return file, fmt.Errorf("read the contexts: %w", err)
	}
	if err := yaml.UnmarshalWithOptions(raw, &file, yaml.Strict()); err != nil {
		return file, fmt.Errorf("%s: %w", path, err)
	}
	return file, nil
}

func (f contextFile) save() error {
	path, err := contextPath()
	if err != nil {
		return err
	}
	raw, err := yaml.Marshal(f)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("save the contexts: %w", err)
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, raw, 0o600); err != nil {
		return fmt.Errorf("save the contexts: %w", err)
	}
	return os.Rename(temporary, path)
}

// put adds or replaces a context; the first one becomes the current one.
func (f *contextFile) put(c Context) {
	f.Contexts = slices.DeleteFunc(f.Contexts, func(old Context) bool { return old.Name == c.Name })
	f.Contexts = append(f.Contexts, c)
	if f.Current == "" {
		f.Current = c.Name
	}
}

// nameOf is what the context of a data directory is called: as it was, or a name
// that no other directory has.
func (f contextFile) nameOf(dir instance.Dir) string {
	for _, c := range f.Contexts {
		if c.SecretFile == dir.AdminSecret() {
			return c.Name
		}
	}
	base := filepath.Base(string(dir))
	name := "local"
	for n := 1; ; n++ {
		if _, taken := f.find(name); !taken {
			return name
		}
		if name = base; n > 1 {
			name = fmt.Sprintf("%s-%d", base, n)
		}
	}
}

func (f contextFile) find(name string) (Context, bool) {
	i := slices.IndexFunc(f.Contexts, func(c Context) bool { return c.Name == name })
	if i < 0 {
		return Context{}, false
	}
	return f.Contexts[i], true
}

// current is the context that this command line talks to.
func (a *App) current() (Context, error) {
	file, err := loadContexts()
	if err != nil {
		return Context{}, err
	}
	name := a.contextName
	if name == "" {
		name = file.Current
	}
	if name == "" {
		return Context{}, &Error{Code: ExitUnreachable, Err: errors.New("no endpoint is configured"), Hint: "start the local control plane with: hallmark up"}
	}
	c, ok := file.find(name)
	if !ok {
		return Context{}, usage("there is no context %q; hallmark context list shows those there are", name)
	}
	return c, nil
}

// connect makes a client of the current context.
func (a *App) connect() (*azure.Client, Context, error) {
	c, err := a.current()
	if err != nil {
		return nil, c, err
	}
	endpoint := azure.Endpoint{URL: c.Endpoint, Authority: c.Authority, TenantID: c.Tenant, ClientID: c.ClientID, CAFile: c.CAFile}
	if c.SecretFile != "" {
		secret, err := os.ReadFile(c.SecretFile)
		if err != nil {
			return nil, c, fmt.Errorf("the secret of context %s: %w", c.Name, err)
		}
		endpoint.ClientSecret = strings.TrimSpace(string(secret))
	}
	client, err := azure.New(endpoint)
	return client, c, err
}

func (a *App) contextCommand() *cobra.Command {
	command := &cobra.Command{Use: "context", Short: "Choose which endpoint to talk to"}
	command.AddCommand(
		&cobra.Command{
			Use: "list", Short: "List the endpoints that are configured", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return a.contextList() },
		},
		&cobra.Command{
			Use: "use NAME", Short: "Talk to this endpoint from now on", Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, arguments []string) error { return a.contextUse(arguments[0]) },
		},
		a.contextCloudCommand(), a.contextEnvCommand(),
	)
	return command
}

func (a *App) contextList() error {
	file, err := loadContexts()
	if err != nil {
		return err
	}
	type row struct {
		Context
		Current bool `json:"current"`
	}
	list := []row{}
	for _, c := range file.Contexts {
		list = append(list, row{c, c.Name == file.Current})
	}
	return a.print(list, column{"Name", "name"}, column{"Endpoint", "endpoint"}, column{"Subscription", "subscription"}, column{"ResourceGroup", "resourceGroup"}, column{"Current", "current"})
}

func (a *App) contextUse(name string) error {
	file, err := loadContexts()
	if err != nil {
		return err
	}
	if _, ok := file.find(name); !ok {
		return usage("there is no context %q; hallmark context list shows those there are", name)
	}
	file.Current = name
	return file.save()
}
