package graph

var routes = map[string]handler{
	"GET /servicePrincipals":                        listPrincipals,
	"POST /servicePrincipals":                       createPrincipal,
	"GET /servicePrincipals/{id}":                   showPrincipal,
	"PATCH /servicePrincipals/{id}":                 updatePrincipal,
	"DELETE /servicePrincipals/{id}":                deletePrincipal,
	"POST /servicePrincipals/{id}/addPassword":      addPassword,
	"POST /servicePrincipals/{id}/removePassword":   removePassword,
	"GET /servicePrincipals/{id}/owners":            empty,
	"GET /applications":                             listApplications,
	"POST /applications":                            createApplication,
	"GET /applications/{id}":                        showApplication,
	"PATCH /applications/{id}":                      updateApplication,
	"DELETE /applications/{id}":                     deleteApplication,
	"POST /applications/{id}/addPassword":           addPassword,
	"POST /applications/{id}/removePassword":        removePassword,
	"GET /applications/{id}/owners":                 empty,
	"GET /groups":                                   listGroups,
	"POST /groups":                                  createGroup,
	"GET /groups/{id}":                              showGroup,
	"PATCH /groups/{id}":                            updateGroup,
	"DELETE /groups/{id}":                           deleteGroup,
	"GET /groups/{id}/owners":                       empty,
	"GET /groups/{id}/members":                      listMembers,
	"POST /groups/{id}/members/$ref":                addMember,
	"DELETE /groups/{id}/members/{member}/$ref":     removeMember,
	"POST /groups/{id}/getMemberGroups":             memberGroups,
	"GET /users":                                    listUsers,
	"POST /users":                                   noUsers,
	"GET /users/{id}":                               showUser,
	"POST /users/{id}/getMemberGroups":              memberGroups,
	"GET /me":                                       me,
	"GET /me/ownedObjects":                          empty,
	"GET /directoryObjects/{id}":                    showObject,
	"POST /directoryObjects/getByIds":               objectsByID,
	"POST /directoryObjects/{id}/checkMemberGroups": checkMemberGroups,
	"POST /directoryObjects/{id}/getMemberGroups":   memberGroups,
}

// reads are the patterns of POSTs that only read.
var reads = map[string]bool{
	"POST " + version + "/groups/{id}/getMemberGroups":             true,
	"POST " + version + "/users/{id}/getMemberGroups":              true,
	"POST " + version + "/directoryObjects/getByIds":               true,
	"POST " + version + "/directoryObjects/{id}/checkMemberGroups": true,
	"POST " + version + "/directoryObjects/{id}/getMemberGroups":   true,
}

func empty(c *call) (any, error) { return c.collection(nil) }
