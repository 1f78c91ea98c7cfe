//! The request and the limit of one resource.

use super::facts::Limit;
use crate::quantity::ParsedQuantity;

/// Request and limit of one resource of a container: what it has, and what is filled in.
#[derive(Clone, Debug, Default)]
pub(super) struct Amount {
    pub(super) request_now: Option<ParsedQuantity>,
    pub(super) limit_now: Option<ParsedQuantity>,
    pub(super) request: Option<String>,
    pub(super) limit: Option<String>,
}

impl Amount {
    /// The request that results.
    pub(super) fn request(&self) -> Option<ParsedQuantity> {
        self.request_now.or_else(|| ParsedQuantity::parse(self.request.as_deref()?))
    }

    /// The limit that results.
    pub(super) fn limit(&self) -> Option<ParsedQuantity> {
        self.limit_now.or_else(|| ParsedQuantity::parse(self.limit.as_deref()?))
    }

    /// With a request that is not above the limit, whichever of them the container has itself. With
    /// neither, a limit gets a request of the same amount, as the API server would set it.
    pub(super) fn consistent(mut self) -> Self {
        if self.limit.is_some() && self.request().is_none() {
            self.request.clone_from(&self.limit);
        }
        let (Some(request), Some(limit)) = (self.request(), self.limit()) else { return self };
        if request > limit {
            if self.limit_now.is_some() {
                // What the container has as its limit stays.
                self.request = None;
            } else {
                // A limit below the request of the container would refuse its pods.
                self.limit = None;
            }
        }
        self
    }

    /// Why a `LimitRange` would refuse the container; of a limit for pods, this is what all of their
    /// containers have together.
    pub(super) fn refused_by(&self, resource: &str, limit: &Limit) -> Option<String> {
        if limit.type_ != "Container" && limit.type_ != "Pod" {
            return None;
        }
        let is_container = limit.type_ == "Container";
        let (request, own_limit) = (self.request(), self.limit());
        let default = limit.default.get(resource).copied().filter(|_| is_container);
        let effective = own_limit.or(default);
        let at = |name: &str| format!("{name} of {resource} for a {}", limit.type_);
        if let (Some(min), Some(request)) = (limit.min.get(resource), request)
            && request < *min
            && is_container
        {
            return Some(at("the request is below min"));
        }
        if let Some(max) = limit.max.get(resource) {
            if request.is_some_and(|request| request > *max) {
                return Some(at("the request is above max"));
            }
            if effective.is_some_and(|limit| limit > *max) {
                return Some(at("the limit is above max"));
            }
        }
        if let (Some(request), Some(limit)) = (request, effective)
            && request > limit
            && is_container
        {
            return Some(at("the request is above the default limit"));
        }
        if let (Some(ratio), Some(request), Some(limit)) =
            (limit.ratio.get(resource), request, effective)
            && limit.exceeds(request, *ratio)
        {
            return Some(at("the limit is too many times the request"));
        }
        None
    }
}
