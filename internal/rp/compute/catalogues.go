package compute

import (
	"context"
	"net/http"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
)

// catalogueRoutes list what can be run in machines: the extensions that act, and the run commands.
func (s *service) catalogueRoutes() []provider.Route {
	const (
		location   = "/subscriptions/{subscription}/providers/Microsoft.Compute/locations/{location}"
		types      = location + "/publishers/{publisher}/artifacttypes/vmextension/types"
		permission = "Microsoft.Compute/locations/publishers/artifacttypes/types/"
		commands   = "Microsoft.Compute/locations/runCommands"
	)
	return []provider.Route{
		{Pattern: types, Permission: permission + "read", Handle: s.extensionTypes},
		{Pattern: types + "/{type}/versions", Permission: permission + "versions/read", Handle: s.extensionVersions},
		{Pattern: types + "/{type}/versions/{version}", Permission: permission + "versions/read", Handle: s.extensionVersion},
		{Pattern: location + "/runCommands", Permission: commands + "/read", Type: commands, APIVersions: computeVersions, Handle: s.listCommands},
		{Pattern: location + "/runCommands/{command}", Permission: commands + "/read", Handle: s.showCommand},
	}
}

// isHandlerPublisher: those of extensions are publishers too, without a marketplace image.
func isHandlerPublisher(name string) bool {
	for _, h := range handlers {
		if strings.EqualFold(h.publisher, name) {
			return true
		}
	}
	return false
}

func itemAt(c *provider.Call, name string) item {
	return item{ID: c.Request.Path + "/" + name, Name: name, Location: arm.NormalLocation(c.Vars["location"])}
}

func (s *service) extensionTypes(_ context.Context, c *provider.Call) (*provider.Response, error) {
	if err := s.checkCall(c); err != nil {
		return nil, err
	}
	items := []item{}
	for _, h := range handlers {
		if strings.EqualFold(h.publisher, c.Vars["publisher"]) {
			items = append(items, itemAt(c, h.name))
		}
	}
	return provider.JSON(http.StatusOK, items)
}

// handlerAt is the extension that a path names.
func (s *service) handlerAt(c *provider.Call) (handler, error) {
	if err := s.checkCall(c); err != nil {
		return handler{}, err
	}
	h, ok := handlerOf(c.Vars["publisher"], c.Vars["type"])
	if !ok {
		return h, arm.Errorf(http.StatusNotFound, "ArtifactNotFound", "Artifact: %s was not found. Extensions that run here: %s.", c.Request.Path, handlerNames()).At(c.Request.Path)
	}
	return h, nil
}

func (s *service) extensionVersions(_ context.Context, c *provider.Call) (*provider.Response, error) {
	h, err := s.handlerAt(c)
	if err != nil {
		return nil, err
	}
	items := []item{}
	for _, v := range h.versions {
		items = append(items, itemAt(c, v+".0"))
	}
	return provider.JSON(http.StatusOK, items)
}

func (s *service) extensionVersion(_ context.Context, c *provider.Call) (*provider.Response, error) {
	h, err := s.handlerAt(c)
	if err != nil {
		return nil, err
	}
	for _, v := range h.versions {
		if wanted := c.Vars["version"]; wanted == v || wanted == v+".0" {
			return provider.JSON(http.StatusOK, item{ID: c.Request.Path, Name: wanted, Location: arm.NormalLocation(c.Vars["location"]), Properties: map[string]any{
				"operatingSystem": "Linux", "computeRole": "IaaS", "vmScaleSetEnabled": false, "supportsMultipleExtensions": false}})
		}
	}
	return nil, arm.Errorf(http.StatusNotFound, "ArtifactNotFound", "Artifact: %s was not found. Its versions are %s.", c.Request.Path, strings.Join(h.versions, ", ")).At(c.Request.Path)
}

// shellCommand is the one command that there is.
func shellCommand(full bool) map[string]any {
	c := map[string]any{"$schema": "http://schema.management.azure.com/schemas/2016-11-17/runcommands.json", "id": "RunShellScript", "osType": "Linux",
		"label": "Executes a Linux shell script", "description": "Custom multiline shell script. Define the script property when calling this command."}
	if full {
		c["script"], c["parameters"] = []string{""}, []any{}
	}
	return c
}

func (s *service) listCommands(_ context.Context, c *provider.Call) (*provider.Response, error) {
	if err := s.checkCall(c); err != nil {
		return nil, err
	}
	return provider.JSON(http.StatusOK, map[string]any{"value": []any{shellCommand(false)}})
}

func (s *service) showCommand(_ context.Context, c *provider.Call) (*provider.Response, error) {
	if err := s.checkCall(c); err != nil {
		return nil, err
	}
	if !strings.EqualFold(c.Vars["command"], "RunShellScript") {
		return nil, arm.Errorf(http.StatusNotFound, "ResourceNotFound", "The run command '%s' does not exist; there is RunShellScript.", c.Vars["command"]).At(c.Request.Path)
	}
	return provider.JSON(http.StatusOK, shellCommand(true))
}
