package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"hallmark.dev/hallmark/internal/azure"
	"hallmark.dev/hallmark/internal/golden"
	"hallmark.dev/hallmark/internal/policy/library"
)

func (a *App) policyImport() *cobra.Command {
	var where policyScope
	var check bool
	c := &cobra.Command{
		Use: "import DIR|ARCHIVE|" + golden.Images, Short: "Store definitions and initiatives from a folder or an archive",
		Long: "Reads every definition and initiative below a folder, or in a .tar or .tar.gz archive (such as a checkout or download of\n" +
			"Azure/azure-policy), or Hallmark's own initiative about golden images, checks all of them, and stores what is new or different.\n\n" +
			"If anything is wrong, all of it is listed with file and line, and nothing is stored. Definitions that say that they are built\n" +
			"in go to the tenant, others to the subscription; --scope puts all of them somewhere else, as custom ones, and moves the\n" +
			"initiatives' references along. On Azure itself only custom definitions can be stored: use --scope there, and " + golden.Azure + ".\n\n" + exitHelp,
		Example: "  hallmark policy import golden-images\n  hallmark policy import azure-policy.tar.gz\n" +
			"  hallmark policy import policies/ --scope /providers/Microsoft.Management/managementGroups/prod\n  hallmark policy import policies/ --check",
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{golden.Images, golden.Azure}, cobra.ShellCompDirectiveDefault
		},
		RunE: func(c *cobra.Command, arguments []string) error {
			items, err := a.readLibrary(arguments[0], where != policyScope{})
			if err != nil {
				return err
			}
			if check {
				a.progress("%d definitions and initiatives, nothing wrong with them", len(items))
				return nil
			}
			return a.importPolicies(c.Context(), where, items)
		},
	}
	where.register(c)
	c.Flags().BoolVar(&check, "check", false, "only say what is wrong; no endpoint is needed")
	return c
}

// readLibrary reads and checks what a user names.
func (a *App) readLibrary(name string, custom bool) ([]library.Item, error) {
	defer debug.SetGCPercent(debug.SetGCPercent(library.GCPercent))
	files, err := libraryFiles(name)
	if err != nil {
		return nil, err
	}
	table, err := policyAliases("")
	if err != nil {
		return nil, err
	}
	items, problems := library.Read(files, table, custom)
	if len(problems) > 0 {
		for _, p := range problems {
			a.progress("%s", p.Error())
		}
		return nil, fmt.Errorf("%d problems in %s; nothing was stored", len(problems), name)
	}
	if len(items) == 0 {
		return nil, &Error{Code: ExitNothing, Err: fmt.Errorf("there are no policy definitions in %s", name)}
	}
	if name == golden.Images || name == golden.Azure {
		items = onlyInitiative(items, name)
	}
	return items, nil
}

func libraryFiles(name string) ([]library.File, error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && (name == golden.Images || name == golden.Azure):
		return library.Folder(golden.Files())
	case err != nil:
		return nil, fmt.Errorf("read the definitions: %w", err)
	case info.IsDir():
		return library.Folder(os.DirFS(name))
	case strings.HasSuffix(name, ".json"):
		text, err := os.ReadFile(name)
		return []library.File{{Path: name, Text: string(text)}}, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read the definitions: %w", err)
	}
	defer f.Close()
	files, err := library.Archive(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return files, nil
}

// onlyInitiative keeps one initiative and the definitions that it names.
func onlyInitiative(items []library.Item, name string) (out []library.Item) {
	i := slices.IndexFunc(items, func(i library.Item) bool { return i.Kind == library.Initiative && i.Name == name })
	if i < 0 {
		return items
	}
	for _, item := range items {
		if item.Kind == library.Definition && slices.ContainsFunc(items[i].Members, func(id string) bool { return strings.EqualFold(last(id), item.Name) }) {
			out = append(out, item)
		}
	}
	return append(out, items[i])
}

// imported counts what an import did with one kind.
type imported struct {
	Kind      string `json:"kind"`
	Created   int    `json:"created"`
	Updated   int    `json:"updated"`
	Unchanged int    `json:"unchanged"`
	Failed    int    `json:"failed"`
}

// importing is one import on its way.
type importing struct {
	*session
	scope func(library.Item) string
	at    map[string]string          // kind/name in lower case → scope that this import puts it at
	there map[string]json.RawMessage // id in lower case → properties

	mu     sync.Mutex
	errs   []error
	counts map[library.Kind]*imported
}

// importers is how many documents are sent at a time.
const importers = 8

func (a *App) importPolicies(ctx context.Context, where policyScope, items []library.Item) error {
	s, at, err := a.openAt(where)
	if err != nil {
		return err
	}
	explicit := where != policyScope{}
	im := &importing{session: s, at: map[string]string{}, there: map[string]json.RawMessage{}, counts: map[library.Kind]*imported{}}
	im.scope = func(i library.Item) string {
		if i.BuiltIn && !explicit {
			return ""
		}
		return at
	}
	for _, i := range items {
		im.at[key(i.Kind, i.Name)] = im.scope(i)
	}
	for _, kind := range []library.Kind{library.Definition, library.Initiative} {
		im.counts[kind] = &imported{Kind: string(kind)}
		if err := im.all(ctx, kind, items); err != nil {
			return err
		}
	}
	return im.report(a)
}

func key(kind library.Kind, name string) string { return string(kind) + "/" + strings.ToLower(name) }

// all stores one kind: definitions have to be there before initiatives name them.
func (im *importing) all(ctx context.Context, kind library.Kind, items []library.Item) error {
	scopes := map[string]bool{}
	for _, i := range items {
		if i.Kind == kind {
			scopes[im.scope(i)] = true
		}
	}
	for scope := range scopes {
		if err := im.look(ctx, scope, kind); err != nil {
			return err
		}
	}
	var group errgroup.Group
	group.SetLimit(importers)
	for _, i := range items {
		if i.Kind == kind {
			group.Go(func() error { return im.one(ctx, i) })
		}
	}
	return group.Wait()
}

// look reads what is there, so that what is the same is not stored again.
func (im *importing) look(ctx context.Context, scope string, kind library.Kind) error {
	return im.eachPolicy(ctx, scope, string(kind), "", func(raw json.RawMessage, d policyDocument) error {
		var doc struct{ Properties json.RawMessage }
		if err := json.Unmarshal(raw, &doc); err != nil {
			return err
		}
		im.there[strings.ToLower(d.ID)] = doc.Properties
		return nil
	})
}

// one stores one document. What the endpoint refuses is noted and the import goes on; an
// endpoint that does not answer ends it.
func (im *importing) one(ctx context.Context, i library.Item) error {
	id := policyID(im.scope(i), string(i.Kind), i.Name)
	body, err := im.moved(i)
	if err != nil {
		return err
	}
	before, exists := im.there[strings.ToLower(id)]
	if exists && says(before, body.Properties) {
		im.count(i, func(c *imported) { c.Unchanged++ })
		return nil
	}
	err = im.Do(ctx, azure.Request{Method: "PUT", Path: id, APIVersion: apiPolicy, Body: body}, nil)
	switch {
	case err != nil && azure.Code(err) == "":
		return err
	case err != nil:
		im.mu.Lock()
		defer im.mu.Unlock()
		im.counts[i.Kind].Failed++
		im.errs = append(im.errs, fmt.Errorf("%s: %s", i.File, azure.Message(err)))
	case exists:
		im.count(i, func(c *imported) { c.Updated++ })
	default:
		im.count(i, func(c *imported) { c.Created++ })
	}
	return nil
}

func (im *importing) count(i library.Item, add func(*imported)) {
	im.mu.Lock()
	defer im.mu.Unlock()
	add(im.counts[i.Kind])
}

type importedBody struct {
	Properties map[string]any `json:"properties"`
}

// moved is the document as it is stored at its scope: without what the endpoint decides,
// and with members that this import puts somewhere else named there.
func (im *importing) moved(i library.Item) (body importedBody, err error) {
	if err := json.Unmarshal([]byte(i.Text), &body); err != nil {
		return body, fmt.Errorf("%s: %w", i.File, err)
	}
	delete(body.Properties, "versions")
	if im.scope(i) != "" {
		delete(body.Properties, "policyType")
		delete(body.Properties, "version")
	}
	members, _ := body.Properties["policyDefinitions"].([]any)
	for _, m := range members {
		member, _ := m.(map[string]any)
		id, _ := member["policyDefinitionId"].(string)
		if at, ok := im.at[key(library.Definition, last(id))]; ok && id != "" {
			member["policyDefinitionId"] = policyID(at, kindDefinitions, last(id))
			if at != "" {
				delete(member, "definitionVersion")
				delete(member, "effectiveDefinitionVersion")
				delete(member, "latestDefinitionVersion")
			}
		}
	}
	return body, nil
}

// says reports whether what is stored says everything that is wanted; the endpoint adds
// things of its own.
func says(stored json.RawMessage, wanted map[string]any) bool {
	var there map[string]any
	if json.Unmarshal(stored, &there) != nil {
		return false
	}
	return contains(there, wanted)
}

// contains compares objects at the two levels that the endpoint adds to, properties and
// metadata; below, everything has to be equal.
func contains(there, wanted map[string]any) bool {
	for name, want := range wanted {
		have, ok := there[name]
		wantObject, isObject := want.(map[string]any)
		haveObject, _ := have.(map[string]any)
		switch {
		case !ok:
			return false
		case name == "metadata" && isObject:
			if !contains(haveObject, wantObject) {
				return false
			}
		case !reflect.DeepEqual(have, want):
			return false
		}
	}
	return true
}

func (im *importing) report(a *App) error {
	rows := []*imported{im.counts[library.Definition], im.counts[library.Initiative]}
	if err := a.print(rows, column{"Kind", "kind"}, column{"Created", "created"}, column{"Updated", "updated"}, column{"Unchanged", "unchanged"}, column{"Failed", "failed"}); err != nil {
		return err
	}
	if len(im.errs) == 0 {
		return nil
	}
	slices.SortFunc(im.errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return fmt.Errorf("%d documents were refused; the others are stored, and importing again takes up where this left off\n%w", len(im.errs), errors.Join(im.errs...))
}
