// Package base provides base images: what a recipe or a machine starts from
// when it names a publisher, an offer, an SKU and a version.
//
// A Catalogue says what there is: Debian releases, which are assembled on the
// spot from the package mirror, and images behind URLs, which are fetched and
// verified. A Store resolves an entry to an exact version and keeps the images.
//
// A Debian base's version is the newest date over the InRelease files of all
// its suites, security included, with a digest over those files: "the latest
// base has changed" means that packages have. Its disk boots /vmlinuz and
// /initrd.img from the root file system by label, through an entry that never
// changes, so that a kernel upgrade is just a package upgrade.
//
// What it is not: it builds no layers on a base (build does), and serves no API.
//
// Importable by the resource providers of images and machines, and by build;
// imports disk only.
package base
