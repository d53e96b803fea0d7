// Package pipeline drives one image from its recipe to a published gallery
// version: resolve the source → build → stage → validate on a freshly booted
// machine → promote → age what came before.
//
// It acts only through an ARM endpoint (package azure), with the same requests
// on Azure as on the embedded control plane; it holds no connection to any
// engine. A build ends as a gallery version that `latest` does not see; only a
// version that has passed its tests is shown.
//
// [Driver.Step] is level-based: it looks at the endpoint and at the [Run] it is
// given, does one thing, and returns. Whoever calls it stores the Run between
// steps; a process killed between two steps, or inside one, loses nothing,
// because every name that a step uses derives from the run's id.
//
// Resource providers and tests import it.
package pipeline
