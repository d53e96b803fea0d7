package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/azure"
)

const (
	typeGallery        = "Microsoft.Compute/galleries"
	typeGalleryImage   = "Microsoft.Compute/galleries/images"
	typeGalleryVersion = "Microsoft.Compute/galleries/images/versions"
)

func (a *App) galleryCommand() *cobra.Command {
	command := &cobra.Command{Use: "gallery", Short: "Look at galleries, definitions and versions"}
	command.AddCommand(a.galleryList(), a.galleryDefinitions(), a.galleryVersions(), a.galleryDelete(), a.galleryReplicate(), a.galleryExport())
	return command
}

func (a *App) galleryList() *cobra.Command {
	var where scope
	c := &cobra.Command{Use: "list", Short: "List galleries", Args: cobra.NoArgs}
	where.register(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		s, err := a.open(where)
		if err != nil {
			return err
		}
		items, err := s.list(c.Context(), s.subscriptionID()+"/providers/"+typeGallery, apiGallery, nil)
		if err != nil {
			return err
		}
		return a.print(items, column{"Name", "name"}, column{"Location", "location"}, column{"Id", "id"})
	}
	return c
}

func (a *App) galleryDefinitions() *cobra.Command {
	return a.onGallery("definitions GALLERY", "List the image definitions of a gallery", func(ctx context.Context, s *session, id string) error {
		items, err := s.list(ctx, id+"/images", apiGallery, nil)
		if err != nil {
			return err
		}
		return a.print(items, column{"Name", "name"}, column{"OS", "properties.osType"}, column{"Publisher", "properties.identifier.publisher"},
			column{"Offer", "properties.identifier.offer"}, column{"SKU", "properties.identifier.sku"}, column{"EndOfLife", "properties.endOfLifeDate"})
	})
}

var versionColumns = []column{
	{"Image", "image"}, {"Version", "name"}, {"State", `tags."hallmark-state"`}, {"Latest", "latest"},
	{"Published", "properties.publishingProfile.publishedDate"}, {"Regions", "regions"}, {"Source", `tags."hallmark-source"`},
}

func (a *App) galleryVersions() *cobra.Command {
	return a.onGallery("versions GALLERY/DEFINITION", "List the versions of an image, with their regions", func(ctx context.Context, s *session, id string) error {
		versions, err := s.versions(ctx, id)
		if err != nil {
			return err
		}
		return a.print(versions, versionColumns...)
	})
}

// versions reads a definition's versions and adds what a person wants to see
// of them.
func (s *session) versions(ctx context.Context, definition string) ([]map[string]any, error) {
	items, err := s.list(ctx, definition+"/versions", apiGallery, nil)
	if err != nil {
		return nil, err
	}
	versions := []map[string]any{}
	for _, item := range items {
		var v map[string]any
		if err := json.Unmarshal(item, &v); err != nil {
			return nil, err
		}
		var known struct {
			Properties struct {
				PublishingProfile struct {
					ExcludeFromLatest bool
					TargetRegions     []struct{ Name string }
				}
			}
		}
		if err := json.Unmarshal(item, &known); err != nil {
			return nil, err
		}
		var regions []string
		for _, r := range known.Properties.PublishingProfile.TargetRegions {
			regions = append(regions, r.Name)
		}
		v["regions"] = strings.Join(regions, ",")
		v["latest"] = !known.Properties.PublishingProfile.ExcludeFromLatest
		v["image"] = segmentAfter(definition, "galleries") + "/" + segmentAfter(definition, "images")
		versions = append(versions, v)
	}
	return versions, nil
}

func (a *App) galleryReplicate() *cobra.Command {
	var regions []string
	c := a.onGallery("replicate GALLERY/DEFINITION/VERSION --regions A,B", "Set the regions that a version is in", func(ctx context.Context, s *session, id string) error {
		var target []map[string]any
		for _, r := range regions {
			target = append(target, map[string]any{"name": r, "regionalReplicaCount": 1})
		}
		body := map[string]any{"properties": map[string]any{"publishingProfile": map[string]any{"targetRegions": target}}}
		return s.DoAndWait(ctx, azure.Request{Method: http.MethodPatch, Path: id, APIVersion: apiGallery, Body: body}, nil)
	})
	c.Flags().StringSliceVar(&regions, "regions", nil, "every region that the version shall be in")
	_ = c.MarkFlagRequired("regions")
	return c
}

func (a *App) galleryDelete() *cobra.Command {
	return a.onGallery("delete GALLERY[/DEFINITION[/VERSION]]", "Delete a gallery, a definition or a version that nothing uses", func(ctx context.Context, s *session, id string) error {
		if err := s.Get(ctx, id, apiGallery, nil); err != nil {
			return err
		}
		return s.Delete(ctx, id, apiGallery)
	})
}

func (a *App) galleryExport() *cobra.Command {
	var format, file string
	c := a.onGallery("export GALLERY/DEFINITION/VERSION --file F", "Write a version's disk to a file", func(ctx context.Context, s *session, id string) error {
		var answer struct{ URI string }
		if err := s.post(ctx, id, "export", apiGallery, map[string]string{"format": format}, &answer); err != nil {
			return err
		}
		return s.downloadTo(ctx, answer.URI, file)
	})
	c.Flags().StringVar(&format, "format", "vhd", "vhd (fixed, as Azure takes it), qcow2, raw, or inventory (what is in it, as JSON)")
	c.Flags().StringVar(&file, "file", "", "where to write it")
	_ = c.MarkFlagRequired("file")
	return c
}

// onGallery makes a command that acts on a gallery, definition or version,
// named as GALLERY[/DEFINITION[/VERSION]] or given by its id.
func (a *App) onGallery(use, short string, act func(context.Context, *session, string) error) *cobra.Command {
	var where scope
	c := &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1)}
	where.register(c)
	c.RunE = func(c *cobra.Command, arguments []string) error {
		s, err := a.open(where)
		if err != nil {
			return err
		}
		id, err := s.galleryID(arguments[0])
		if err != nil {
			return err
		}
		return act(c.Context(), s, id)
	}
	return c
}

var galleryTypes = []string{typeGallery, typeGalleryImage, typeGalleryVersion}

func (s *session) galleryID(name string) (string, error) {
	if strings.HasPrefix(name, "/") {
		return name, nil
	}
	parts := strings.Split(name, "/")
	if len(parts) > len(galleryTypes) {
		return "", usage("%q: want GALLERY[/DEFINITION[/VERSION]] or an id", name)
	}
	if len(parts) == 3 && parts[2] == "latest" {
		return "", usage("%q: name the version; hallmark image list shows which is the latest", name)
	}
	return s.resource(galleryTypes[len(parts)-1], parts...), nil
}

// everyVersion reads the versions of every definition of a subscription.
func (s *session) everyVersion(ctx context.Context) ([]map[string]any, error) {
	galleries, err := s.list(ctx, s.subscriptionID()+"/providers/"+typeGallery, apiGallery, url.Values{})
	if err != nil {
		return nil, err
	}
	all := []map[string]any{}
	for _, gallery := range galleries {
		definitions, err := s.list(ctx, idOf(gallery)+"/images", apiGallery, nil)
		if err != nil {
			return nil, err
		}
		for _, definition := range definitions {
			versions, err := s.versions(ctx, idOf(definition))
			if err != nil {
				return nil, err
			}
			all = append(all, versions...)
		}
	}
	return all, nil
}

func idOf(document json.RawMessage) string {
	var d struct{ ID string }
	_ = json.Unmarshal(document, &d)
	return d.ID
}

func notFound(format string, arguments ...any) error {
	return &Error{Code: ExitNothing, Err: fmt.Errorf(format, arguments...)}
}
