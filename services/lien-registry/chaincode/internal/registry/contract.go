package registry

import "github.com/hyperledger/fabric-contract-api-go/v2/contractapi"

// Registry is the contract: each exported method is a function that clients call, with one JSON object, answered in JSON.
type Registry struct {
	contractapi.Contract
	clock Clock
}

type transaction = contractapi.TransactionContextInterface

// GetEvaluateTransactions names the reads.
func (r *Registry) GetEvaluateTransactions() []string {
	return []string{
		"GetLien", "GetLienHistory", "ListLiensByVin", "ListLiensByDebtor", "ListLiens", "GetTitle",
		"GetTitleHistory", "GetPriority", "GetProposal", "ListConsents", "ListDisputes", "ListCourtOrders",
		"GetDispute", "GetPolicy", "ListPolicies", "GetAnchors", "GetDetails",
	}
}

// GetUnknownTransaction answers calls of functions that don't exist.
func (r *Registry) GetUnknownTransaction() any {
	return func(transaction) error { return errUnknownFunction }
}

// IssueTitle issues a car's one title.
func (r *Registry) IssueTitle(ctx transaction, argument string) (string, error) {
	return submit(r, ctx, argument, issueTitle)
}

// TransferTitle changes the holder of a title.
func (r *Registry) TransferTitle(ctx transaction, argument string) (string, error) {
	return submit(r, ctx, argument, transferTitle)
}

// RegisterLien registers a lien.
func (r *Registry) RegisterLien(ctx transaction, argument string) (string, error) {
	return submit(r, ctx, argument, registerLien)
}

// BatchRegisterLiens registers up to 100 liens, with an outcome for each.
func (r *Registry) BatchRegisterLiens(ctx transaction, argument string) (string, error) {
	return submit(r, ctx, argument, batchRegisterLiens)
}

// AmendLien makes a typed change to a lien.
func (r *Registry) AmendLien(ctx transaction, argument string) (string, error) {
	return submit(r, ctx, argument, amendLien)
}

// AssignLien hands a lien over with its claim.
func (r *Registry) AssignLien(ctx transaction, argument string) (string, error) {
	return submit(r, ctx, argument, assignLien)
}

// SubordinateLien lets a lien step back behind another.
func (r *Registry) SubordinateLien(ctx transaction, argument string) (string, error) {
	return submit(r, ctx, argument, subordinateLien)
}

// RenewLien moves a lien's end.
func (r *Registry) RenewLien(ctx transaction, argument string) (string, error) {
	return submit(r, ctx, argument, renewLien)
}

// DischargeLien ends a lien.
func (r *Registry) DischargeLien(ctx transaction, argument string) (string, error) {
	return submit(r, ctx, argument, dischargeLien)
}

// RegisterCourtOrder records a court's order and its effect.
func (r *Registry) RegisterCourtOrder(ctx transaction, argument string) (string, error) {
	return submit(r, ctx, argument, registerCourtOrder)
}

// ReservePriority holds first rank for some minutes.
func (r *Registry) ReservePriority(ctx transaction, argument string) (string, error) {
	return submit(r, ctx, argument, reservePriority)
}

// ReleasePriority gives a reservation up.
func (r *Registry) ReleasePriority(ctx transaction, argument string) (string, error) {
	return submit(r, ctx, argument, releasePriority)
}

// GiveConsent records a consent to one proposed change.
func (r *Registry) GiveConsent(ctx transaction, argument string) (string, error) {
	return submit(r, ctx, argument, giveConsent)
}

// WithdrawConsent takes a consent back while it isn't used.
func (r *Registry) WithdrawConsent(ctx transaction, argument string) (string, error) {
	return submit(r, ctx, argument, withdrawConsent)
}

// OpenDispute records an objection.
func (r *Registry) OpenDispute(ctx transaction, argument string) (string, error) {
	return submit(r, ctx, argument, openDispute)
}

// ResolveDispute records how a dispute ended.
func (r *Registry) ResolveDispute(ctx transaction, argument string) (string, error) {
	return submit(r, ctx, argument, resolveDispute)
}

// SetPolicy adds a dated step to the roll-out policy.
func (r *Registry) SetPolicy(ctx transaction, argument string) (string, error) {
	return submit(r, ctx, argument, setPolicy)
}

// PostAnchor posts an organisation's root of the registry as of a block.
func (r *Registry) PostAnchor(ctx transaction, argument string) (string, error) {
	return submit(r, ctx, argument, postAnchor)
}

// StoreDetails stores a lien's private details in the caller's collection.
func (r *Registry) StoreDetails(ctx transaction, argument string) (string, error) {
	return submit(r, ctx, argument, storeDetails)
}

// BatchStoreDetails stores the private details of up to 100 liens in the caller's collection.
func (r *Registry) BatchStoreDetails(ctx transaction, argument string) (string, error) {
	return submit(r, ctx, argument, batchStoreDetails)
}

// PurgeDetails removes the caller's copy of private details.
func (r *Registry) PurgeDetails(ctx transaction, argument string) (string, error) {
	return submit(r, ctx, argument, purgeDetails)
}

// GetLien returns a registration.
func (r *Registry) GetLien(ctx transaction, argument string) (string, error) {
	return evaluate(r, ctx, argument, getLien)
}

// GetLienHistory returns all versions of a registration.
func (r *Registry) GetLienHistory(ctx transaction, argument string) (string, error) {
	return evaluate(r, ctx, argument, getLienHistory)
}

// ListLiensByVin lists a car's registrations.
func (r *Registry) ListLiensByVin(ctx transaction, argument string) (string, error) {
	return evaluate(r, ctx, argument, listLiensByVin)
}

// ListLiensByDebtor lists a debtor's registrations.
func (r *Registry) ListLiensByDebtor(ctx transaction, argument string) (string, error) {
	return evaluate(r, ctx, argument, listLiensByDebtor)
}

// ListLiens lists all registrations.
func (r *Registry) ListLiens(ctx transaction, argument string) (string, error) {
	return evaluate(r, ctx, argument, listLiens)
}

// GetTitle returns a title.
func (r *Registry) GetTitle(ctx transaction, argument string) (string, error) {
	return evaluate(r, ctx, argument, getTitle)
}

// GetTitleHistory returns all versions of a title.
func (r *Registry) GetTitleHistory(ctx transaction, argument string) (string, error) {
	return evaluate(r, ctx, argument, getTitleHistory)
}

// GetPriority tells who has first rank.
func (r *Registry) GetPriority(ctx transaction, argument string) (string, error) {
	return evaluate(r, ctx, argument, getPriority)
}

// GetProposal tells what a change needs, and its hash.
func (r *Registry) GetProposal(ctx transaction, argument string) (string, error) {
	return evaluate(r, ctx, argument, getProposal)
}

// ListConsents lists consents concerning a car.
func (r *Registry) ListConsents(ctx transaction, argument string) (string, error) {
	return evaluate(r, ctx, argument, listConsents)
}

// ListDisputes lists disputes concerning a car.
func (r *Registry) ListDisputes(ctx transaction, argument string) (string, error) {
	return evaluate(r, ctx, argument, listDisputes)
}

// ListCourtOrders lists court orders concerning a car.
func (r *Registry) ListCourtOrders(ctx transaction, argument string) (string, error) {
	return evaluate(r, ctx, argument, listCourtOrders)
}

// GetDispute returns a dispute.
func (r *Registry) GetDispute(ctx transaction, argument string) (string, error) {
	return evaluate(r, ctx, argument, getDispute)
}

// GetPolicy returns the policy in force on a day.
func (r *Registry) GetPolicy(ctx transaction, argument string) (string, error) {
	return evaluate(r, ctx, argument, getPolicy)
}

// ListPolicies lists all policies.
func (r *Registry) ListPolicies(ctx transaction, argument string) (string, error) {
	return evaluate(r, ctx, argument, listPolicies)
}

// GetAnchors lists the roots posted for a block.
func (r *Registry) GetAnchors(ctx transaction, argument string) (string, error) {
	return evaluate(r, ctx, argument, getAnchors)
}

// GetDetails returns the caller's private details of a lien.
func (r *Registry) GetDetails(ctx transaction, argument string) (string, error) {
	return evaluate(r, ctx, argument, getDetails)
}
