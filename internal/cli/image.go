package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/azure"
	"hallmark.dev/hallmark/internal/image"
	"hallmark.dev/hallmark/internal/lineage"
)

func (a *App) imageCommand() *cobra.Command {
	command := &cobra.Command{Use: "image", Short: "Build images, publish them, and take them out of use"}
	command.AddCommand(a.imageBuild(), a.imageList(), a.imageShow(), a.imageRuns(), a.imageLog(), a.imageShell(), a.imageDiff(), a.imagePromote(), a.imageRetire(), a.imageRevoke(), a.imageVerify())
	return command
}

// embedFiles reads the local files that a recipe names and puts them into it.
func embedFiles(recipe *image.Recipe, dir string) (*image.Recipe, error) {
	files := map[string][]byte{}
	for _, input := range recipe.Inputs() {
		if !input.Local {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(input.URI)))
		if err != nil {
			return nil, &Error{Code: ExitUsage, Err: fmt.Errorf("read a file of the recipe: %w", err)}
		}
		files[input.URI] = content
	}
	return recipe.Embed(files)
}

func (a *App) imageList() *cobra.Command {
	var where scope
	c := &cobra.Command{Use: "list", Short: "List the versions of every image", Args: cobra.NoArgs}
	where.register(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		s, err := a.open(where)
		if err != nil {
			return err
		}
		versions, err := s.everyVersion(c.Context())
		if err != nil {
			return err
		}
		return a.print(versions, versionColumns...)
	}
	return c
}

func (a *App) imageShow() *cobra.Command {
	return a.onGallery("show GALLERY/DEFINITION/VERSION", "Show a version: its bytes, where it came from, where it is", func(ctx context.Context, s *session, id string) error {
		var v map[string]any
		if err := s.Do(ctx, azure.Request{Method: http.MethodGet, Path: id, APIVersion: apiGallery, Query: map[string][]string{"$expand": {"ReplicationStatus"}}}, &v); err != nil {
			return err
		}
		return a.print(v, column{"Version", "name"}, column{"State", `tags."hallmark-state"`}, column{"ExcludedFromLatest", "properties.publishingProfile.excludeFromLatest"},
			column{"Published", "properties.publishingProfile.publishedDate"}, column{"Replication", "properties.replicationStatus.aggregatedState"}, column{"Digest", "properties.hallmark.imageDigest"})
	})
}

func (a *App) imageRuns() *cobra.Command {
	var where scope
	c := &cobra.Command{Use: "runs [PIPELINE]", Short: "List the runs of pipelines", Args: cobra.MaximumNArgs(1)}
	where.register(c)
	c.RunE = func(c *cobra.Command, arguments []string) error {
		s, err := a.open(where)
		if err != nil {
			return err
		}
		runs, err := s.runs(c.Context(), arguments)
		if err != nil {
			return err
		}
		return a.print(runs, column{"Run", "name"}, column{"Status", "properties.run.status"}, column{"Version", "properties.run.version"},
			column{"Started", "properties.run.stages[0].startTime"}, column{"Error", "properties.run.error.code"})
	}
	return c
}

func (s *session) runs(ctx context.Context, pipelines []string) ([]json.RawMessage, error) {
	ids := make([]string, 0, len(pipelines))
	for _, name := range pipelines {
		ids = append(ids, s.resource(typePipeline, name))
	}
	if len(ids) == 0 {
		items, err := s.list(ctx, s.groupID()+"/providers/"+typePipeline, apiHallmark, nil)
		if err != nil {
			return nil, err
		}
		for _, item := range items {
			ids = append(ids, idOf(item))
		}
	}
	all := []json.RawMessage{}
	for _, id := range ids {
		runs, err := s.list(ctx, id+"/runs", apiHallmark, nil)
		if err != nil {
			return nil, err
		}
		all = append(all, runs...)
	}
	return all, nil
}

func (a *App) imageLog() *cobra.Command {
	var where scope
	c := &cobra.Command{Use: "log RUN", Short: "Print a run's log; follow it while it runs", Args: cobra.ExactArgs(1)}
	where.register(c)
	c.RunE = func(c *cobra.Command, arguments []string) error {
		s, err := a.open(where)
		if err != nil {
			return err
		}
		id, err := s.findRun(c.Context(), arguments[0])
		if err != nil {
			return err
		}
		return s.follow(c.Context(), id, true)
	}
	return c
}

// findRun finds a run of the group by its name, wherever its pipeline is.
func (s *session) findRun(ctx context.Context, name string) (string, error) {
	if strings.HasPrefix(name, "/") {
		return name, nil
	}
	runs, err := s.runs(ctx, nil)
	if err != nil {
		return "", err
	}
	for _, run := range runs {
		if id := idOf(run); strings.EqualFold(id[strings.LastIndexByte(id, '/')+1:], name) {
			return id, nil
		}
	}
	return "", notFound("there is no run %s in group %s; hallmark image runs lists them", name, s.Group)
}

func (a *App) imagePromote() *cobra.Command {
	return a.onGallery("promote GALLERY/DEFINITION/VERSION", "Let `latest` see a staged version without its tests having passed", func(ctx context.Context, s *session, id string) error {
		return s.mark(ctx, id, map[string]any{lineage.TagState: lineage.MarkPublished}, map[string]any{"excludeFromLatest": false})
	})
}

func (a *App) imageRetire() *cobra.Command {
	var force bool
	c := a.onGallery("retire GALLERY/DEFINITION/VERSION", "Take a version out of `latest`; says first who uses it", func(ctx context.Context, s *session, id string) error {
		users, err := s.users(ctx, id)
		if err != nil {
			return err
		}
		if len(users) > 0 && !force {
			return &Error{Code: ExitFailed, Err: fmt.Errorf("%d machines run this version:\n  %s", len(users), strings.Join(users, "\n  ")), Hint: "they go on running; retire it all the same with --force"}
		}
		if err := s.keepsEnough(ctx, id, force); err != nil {
			return err
		}
		return s.mark(ctx, id, map[string]any{lineage.TagState: lineage.MarkAged}, map[string]any{"excludeFromLatest": true})
	})
	c.Flags().BoolVar(&force, "force", false, "retire it although machines use it, or too few good versions would be left")
	return c
}

func (a *App) imageRevoke() *cobra.Command {
	var reason string
	var cascade bool
	c := a.onGallery("revoke GALLERY/DEFINITION/VERSION --reason R", "Declare a version unfit: no machine shall run it", func(ctx context.Context, s *session, id string) error {
		ids := []string{id}
		if cascade {
			more, err := s.descendants(ctx, id)
			if err != nil {
				return err
			}
			ids = append(ids, more...)
		}
		for _, id := range ids {
			tags := map[string]any{lineage.TagState: lineage.MarkRevoked, lineage.TagReason: reason}
			if err := s.mark(ctx, id, tags, map[string]any{"excludeFromLatest": true}); err != nil {
				return err
			}
			a.progress("Revoked %s", id)
		}
		return nil
	})
	c.Flags().StringVar(&reason, "reason", "", "why, for everybody who meets it")
	c.Flags().BoolVar(&cascade, "cascade", false, "revoke the versions that were built on it, too")
	_ = c.MarkFlagRequired("reason")
	return c
}

// keepsEnough refuses to retire one of the last good versions: there has to be
// something to create machines from, and something to go back to.
func (s *session) keepsEnough(ctx context.Context, id string, force bool) error {
	versions, err := s.versions(ctx, id[:strings.LastIndex(strings.ToLower(id), "/versions/")])
	if err != nil || force {
		return err
	}
	good, keep := 0, 2
	for _, v := range versions {
		tags, _ := v["tags"].(map[string]any)
		if other, _ := v["id"].(string); strings.EqualFold(other, id) {
			if text, _ := tags[lineage.TagLifecycleCurrent].(string); text != "" {
				keep, _ = strconv.Atoi(text)
			}
			continue
		}
		if tags[lineage.TagState] == lineage.MarkPublished {
			good++
		}
	}
	if good < keep {
		return &Error{Code: ExitFailed, Err: fmt.Errorf("only %d other good versions would be left, and the recipe keeps %d", good, keep), Hint: "publish a newer one first, or retire it all the same with --force; revoke takes a bad one out at once"}
	}
	return nil
}

// mark changes a version's tags and how it is published, and waits.
func (s *session) mark(ctx context.Context, id string, tags, profile map[string]any) error {
	var old struct{ Tags map[string]any }
	if err := s.Get(ctx, id, apiGallery, &old); err != nil {
		return err
	}
	merged := map[string]any{}
	for _, from := range []map[string]any{old.Tags, tags} {
		for name, value := range from {
			merged[name] = value
		}
	}
	body := map[string]any{"tags": merged, "properties": map[string]any{"publishingProfile": profile}}
	return s.DoAndWait(ctx, azure.Request{Method: http.MethodPatch, Path: id, APIVersion: apiGallery, Body: body}, nil)
}

// users are the machines that were made from a version.
func (s *session) users(ctx context.Context, version string) ([]string, error) {
	machines, err := s.list(ctx, s.subscriptionID()+"/providers/"+typeVM, apiCompute, nil)
	if err != nil {
		return nil, err
	}
	var users []string
	for _, raw := range machines {
		var vm struct {
			ID         string
			Properties struct {
				StorageProfile struct {
					ImageReference struct{ ID, ExactVersion string }
				}
			}
		}
		if err := json.Unmarshal(raw, &vm); err != nil {
			return nil, err
		}
		ref := vm.Properties.StorageProfile.ImageReference
		if strings.EqualFold(ref.ID, version) || strings.EqualFold(ref.ID+"/versions/"+ref.ExactVersion, version) {
			users = append(users, vm.ID)
		}
	}
	return users, nil
}

// descendants are the versions whose source, directly or through others, was
// this version.
func (s *session) descendants(ctx context.Context, version string) ([]string, error) {
	all, err := s.everyVersion(ctx)
	if err != nil {
		return nil, err
	}
	found := []string{}
	for parents := []string{version}; len(parents) > 0; {
		var children []string
		for _, v := range all {
			tags, _ := v["tags"].(map[string]any)
			source, _ := tags[lineage.TagSource].(string)
			id, _ := v["id"].(string)
			for _, parent := range parents {
				if strings.EqualFold(source, parent) {
					children = append(children, id)
				}
			}
		}
		found, parents = append(found, children...), children
	}
	return found, nil
}
