//! CORS preflights: a browser asks by itself, without the header, cookie or token that would name the tenant, whether a
//! page of another origin may send a request that has it. They are answered for all tenants by one. Pure.

use super::RequestKey;
use crate::field_lines::FieldLines;

/// Whose preflights are answered by whom.
#[derive(Clone, Debug)]
pub struct Preflights {
    tenant: Box<RequestKey>,
}

impl Preflights {
    /// Those that name no tenant go to this one.
    pub fn to(tenant: RequestKey) -> Self {
        Self {
            tenant: Box::new(tenant),
        }
    }

    /// Whom a request is for in which no rule has found a tenant, if it is a preflight: of this shape, each of the two
    /// fields once, without a body (Fetch, section 4.8).
    pub fn tenant_of(
        &self,
        method: &[u8],
        has_body: bool,
        lines: FieldLines<'_>,
    ) -> Option<&RequestKey> {
        let is_once = |name| {
            let mut values = lines.values(name);
            let is_there = values.next().is_some_and(|value| !value.is_empty());
            is_there && values.next().is_none()
        };
        let is_preflight = method == b"OPTIONS"
            && !has_body
            && is_once("origin")
            && is_once("access-control-request-method");
        is_preflight.then_some(&*self.tenant)
    }

    pub fn tenant(&self) -> &[u8] {
        self.tenant.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field_lines::FieldLine;

    #[test]
    fn only_preflights_are_taken() {
        let preflights = Preflights::to(RequestKey::new(b"web").unwrap());
        let line = |(name, value): (&'static str, &'static str)| FieldLine {
            name: name.as_bytes(),
            value: value.as_bytes(),
        };
        let tenant = |method: &str, has_body, fields: &[(&'static str, &'static str)]| {
            let lines: Vec<_> = fields.iter().copied().map(line).collect();
            let found = preflights.tenant_of(method.as_bytes(), has_body, FieldLines(&lines));
            found.map(|key| key.as_bytes().to_vec())
        };
        let origin = ("Origin", "https://a.example");
        let asks = ("access-control-request-method", "PUT");
        let both = [origin, asks];
        assert_eq!(tenant("OPTIONS", false, &both), Some(b"web".to_vec()));
        for (method, has_body, fields) in [
            ("OPTIONS", true, &both[..]),
            ("GET", false, &both),
            ("options", false, &both),
            ("OPTIONS", false, &[origin]),
            ("OPTIONS", false, &[asks]),
            ("OPTIONS", false, &[]),
            ("OPTIONS", false, &[origin, asks, origin]),
            ("OPTIONS", false, &[origin, asks, asks]),
            ("OPTIONS", false, &[("origin", ""), asks]),
            (
                "OPTIONS",
                false,
                &[origin, ("access-control-request-methods", "PUT")],
            ),
        ] {
            assert_eq!(
                tenant(method, has_body, fields),
                None,
                "{method} {fields:?}"
            );
        }
    }
}
