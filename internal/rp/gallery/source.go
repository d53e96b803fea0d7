package gallery

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/artifact"
	"hallmark.dev/hallmark/internal/provider"
)

// loaded is what Load hands to Validate.
type loaded struct {
	definition struct{ OSType, OSState, HyperVGeneration string }
	source     *source // nil if the request names none, or too many
}

// source is where a version's bytes come from, and what is said about them. Either
// digest (the bytes are in the content store) or uri (a blob) is set.
type source struct {
	id          string // as the client wrote it
	digest, uri string

	osType, osState, generation string // "" where the source does not know
	locations                   []string
}

// loadVersion follows the source as the caller, so that nobody publishes bytes
// that he may not read.
func (s *service) loadVersion(ctx context.Context, w *provider.Write) error {
	var b versionBody
	if !w.Create() || json.Unmarshal(w.Doc.Body, &b) != nil {
		return nil
	}
	in := &loaded{}
	raw, err := w.Client.Get(ctx, w.ID.Parent())
	if err != nil {
		return err
	}
	if props, ok := arm.Get(raw, "properties"); ok {
		if err := json.Unmarshal(props, &in.definition); err != nil {
			return err
		}
	}
	w.Loaded = in
	if len(b.Properties.StorageProfile.sources()) != 1 {
		return nil
	}
	in.source, err = s.find(ctx, w.Client, b.Properties.StorageProfile)
	return err
}

// find follows the one source of a storage profile to its bytes. Errors that a
// client can mend are *arm.Error.
func (s *service) find(ctx context.Context, client provider.Client, p storageProfile) (*source, error) {
	id := p.sources()[0]
	found := &source{id: id}
	if p.OSDiskImage.Source.URI != "" {
		found.uri = id
		return found, s.checkBlob(found)
	}
	if err := s.follow(ctx, client, found, id, 4); err != nil {
		return nil, err
	}
	return found, nil
}

func (s *service) checkBlob(found *source) error {
	_, _, err := s.Artifacts.Resolve(found.uri)
	switch {
	case errors.Is(err, artifact.ErrNotBlob):
		return arm.BadRequest(arm.CodeInvalidParameter, "properties.storageProfile.osDiskImage.source.uri",
			"The source uri is %v. Bytes from elsewhere come in through an image template or a managed image.", err)
	case errors.Is(err, artifact.ErrNotFound):
		return arm.BadRequest(arm.CodeInvalidParameter, "properties.storageProfile.osDiskImage.source.uri",
			"There is no blob '%s'. Blobs are removed when nothing names them any more: build or export again.", found.uri)
	}
	return err
}

// sourceBody is what is read of any document that images can be made from.
type sourceBody struct {
	Location   string
	Properties struct {
		ProvisioningState string
		Hallmark          struct{ ImageDigest string }
		OSType            string // disks, snapshots
		HyperVGeneration  string
		StorageProfile    struct {
			OSDisk struct {
				OSType, OSState       string
				BlobURI               string
				ManagedDisk, Snapshot struct{ ID string }
			}
		}
		SourceVirtualMachine struct{ ID string }
		PublishingProfile    publishingProfile
	}
}

// follow reads the document under id and goes on to what that rests on, at most
// depth times, until it has bytes.
func (s *service) follow(ctx context.Context, client provider.Client, found *source, text string, depth int) error {
	id, err := arm.ParseID(text)
	if err != nil {
		return arm.BadRequest(arm.CodeInvalidParameter, "properties.storageProfile",
			"Property id '%.200s' at path 'properties.storageProfile' is invalid. Expect fully qualified resource Id that start with '/subscriptions/{subscriptionID}' or '/providers/{resourceProviderNamespace}/'.", text)
	}
	if !sourceType(id.Type()) {
		return arm.BadRequest(arm.CodeInvalidParameter, "properties.storageProfile",
			"The source id: %s must either be a managed image, virtual machine, managed disk, snapshot or another gallery image version", id)
	}
	raw, err := client.Get(ctx, id)
	if arm.IsNotFound(err) {
		return sourceNotFound(text)
	}
	if err != nil {
		return err
	}
	var b sourceBody
	if err := json.Unmarshal(raw, &b); err != nil {
		return err
	}
	if st := arm.ProvisioningState(b.Properties.ProvisioningState); st != arm.StateSucceeded && !id.Type().Equal(typeVM) {
		return arm.BadRequest(arm.CodeInvalidParameter, "properties.storageProfile", "The source %s is in the state '%s'. Wait until it is Succeeded.", id, st)
	}
	found.learn(id, b)
	next := found.step(id.Type(), b)
	switch {
	case found.digest != "":
		return nil
	case found.uri != "":
		return s.checkBlob(found)
	case next == "" || depth == 0:
		return arm.BadRequest(arm.CodeInvalidParameter, "properties.storageProfile",
			"The source %s is a disk that a machine may write to. Deallocate the machine, make a snapshot or a managed image, and use that.", id)
	}
	return s.follow(ctx, client, found, next, depth-1)
}

func sourceType(t arm.Type) bool {
	for _, ok := range []arm.Type{TypeVersion, typeImage, typeVM, typeDisk, typeSnapshot} {
		if t.Equal(ok) {
			return true
		}
	}
	return false
}

// learn takes over what the first document on the way says.
func (f *source) learn(id arm.ID, b sourceBody) {
	p := b.Properties
	if id.Type().Equal(TypeVersion) {
		if f.locations == nil {
			for _, t := range p.PublishingProfile.TargetRegions {
				f.locations = append(f.locations, t.location())
			}
		}
		return
	}
	if f.locations == nil {
		f.locations = []string{arm.NormalLocation(b.Location)}
	}
	set := func(to *string, value string) {
		if *to == "" {
			*to = value
		}
	}
	set(&f.osType, p.OSType)
	set(&f.osType, p.StorageProfile.OSDisk.OSType)
	set(&f.osState, p.StorageProfile.OSDisk.OSState)
	set(&f.generation, p.HyperVGeneration)
}

// step finds the bytes in a document, or the next document to ask. What a
// disk says of its image is where it came from, not what is on it now.
func (f *source) step(t arm.Type, b sourceBody) (next string) {
	osDisk := b.Properties.StorageProfile.OSDisk
	switch digest := b.Properties.Hallmark.ImageDigest; {
	case t.Equal(typeDisk):
	case t.Equal(typeVM):
		next = osDisk.ManagedDisk.ID
	case digest != "":
		f.digest = digest
	case osDisk.BlobURI != "":
		f.uri = osDisk.BlobURI
	default:
		next = cmp.Or(osDisk.ManagedDisk.ID, osDisk.Snapshot.ID, b.Properties.SourceVirtualMachine.ID)
	}
	return next
}
