package pipeline

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"hallmark.dev/hallmark/internal/azure"
)

// The api-versions that the pipeline speaks; Azure knows each of them.
const (
	apiResources = "2021-04-01"
	apiCompute   = "2024-07-01"
	apiGallery   = "2023-07-03"
	apiNetwork   = "2023-09-01"
	apiBuilder   = "2024-02-01"
)

func (d *Driver) group(name string) string {
	return "/subscriptions/" + d.Place.Subscription + "/resourceGroups/" + name
}

func (d *Driver) inBuildGroup(resourceType, name string) string {
	return d.group(d.Place.BuildGroup) + "/providers/" + resourceType + "/" + name
}

// name is what this run calls its resources: recognisable, unique, and short
// enough for a computer name.
func name(run *Run) string {
	id := strings.ToLower(run.ID)
	return "hm-" + id[max(0, len(id)-10):]
}

func (d *Driver) templateID(run *Run) string {
	return d.inBuildGroup("Microsoft.VirtualMachineImages/imageTemplates", name(run))
}

func (d *Driver) machineID(run *Run) string {
	return d.inBuildGroup("Microsoft.Compute/virtualMachines", name(run))
}

func (d *Driver) interfaceID(run *Run) string {
	return d.inBuildGroup("Microsoft.Network/networkInterfaces", name(run))
}

func (d *Driver) networkID() string {
	return d.inBuildGroup("Microsoft.Network/virtualNetworks", "hallmark-build-"+regionName(d.Place.Location))
}

func (d *Driver) galleryID() string {
	if strings.HasPrefix(d.Recipe.Gallery, "/") {
		return d.Recipe.Gallery
	}
	return d.group(d.Place.Group) + "/providers/Microsoft.Compute/galleries/" + d.Recipe.Gallery
}

func (d *Driver) definitionID() string {
	return d.galleryID() + "/images/" + d.Recipe.Definition.Name
}

func (d *Driver) get(ctx context.Context, id, apiVersion string, into any) error {
	return d.Cloud.Do(ctx, azure.Request{Method: http.MethodGet, Path: id, APIVersion: apiVersion}, into)
}

// put asks for a resource and does not wait: a later step looks at its state.
func (d *Driver) put(ctx context.Context, id, apiVersion string, body any) error {
	return d.Cloud.Do(ctx, azure.Request{Method: http.MethodPut, Path: id, APIVersion: apiVersion, Body: body}, nil)
}

func (d *Driver) post(ctx context.Context, id, action, apiVersion string, body, into any) error {
	return d.Cloud.Do(ctx, azure.Request{Method: http.MethodPost, Path: id + "/" + action, APIVersion: apiVersion, Body: body}, into)
}

func (d *Driver) patch(ctx context.Context, id, apiVersion string, body any) error {
	return d.Cloud.Do(ctx, azure.Request{Method: http.MethodPatch, Path: id, APIVersion: apiVersion, Body: body}, nil)
}

// gone deletes a resource and says whether it is gone already.
func (d *Driver) gone(ctx context.Context, id, apiVersion string) (bool, error) {
	err := d.get(ctx, id, apiVersion, nil)
	if azure.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	err = d.Cloud.Do(ctx, azure.Request{Method: http.MethodDelete, Path: id, APIVersion: apiVersion}, nil)
	if azure.IsNotFound(err) {
		return true, nil
	}
	return false, err
}

// ensure makes a resource where it is missing; what is there stays as it is.
func (d *Driver) ensure(ctx context.Context, id, apiVersion string, body any) error {
	var resource provisioned
	err := d.get(ctx, id, apiVersion, &resource)
	if azure.IsNotFound(err) {
		if err := d.put(ctx, id, apiVersion, body); err != nil {
			return err
		}
		return errWait
	}
	if err != nil {
		return err
	}
	return resource.ready(id)
}

// provisioned is the part of any resource that says whether it is ready.
type provisioned struct {
	Properties struct {
		ProvisioningState string
		ProvisioningError struct{ Code, Message string }
	}
}

// ready is nil for a resource that is ready, errWait for one that is not yet,
// and a Failure for one that never will be.
func (p provisioned) ready(id string) error {
	switch p.Properties.ProvisioningState {
	case "Succeeded", "":
		return nil
	case "Failed", "Canceled":
		message := p.Properties.ProvisioningError.Message
		if message == "" {
			message = "its operation on the endpoint has the details"
		}
		return failure("ProvisioningFailed", id, "%s ended as %s: %s", id, p.Properties.ProvisioningState, message)
	}
	return errWait
}

func (d *Driver) list(ctx context.Context, path, apiVersion string) ([]json.RawMessage, error) {
	var items []json.RawMessage
	err := d.Cloud.List(ctx, azure.Request{Path: path, APIVersion: apiVersion}, func(item json.RawMessage) error {
		items = append(items, item)
		return nil
	})
	return items, err
}
