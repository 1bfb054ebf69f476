"""Guards of the product, how each is taken away, and the test that must then fail.

The tests named are those that need no service, so that all trials end within minutes; the suites of faults, isolation
and attacks check the same guards from outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Trial:
    """`old` stands once in `file` and becomes `new`; then `test` (a node id of pytest) must fail."""

    suite: str
    guard: str
    file: str
    old: str
    new: str
    test: str


_FIND: Final = "tests/contracts/test_event_find.py"
_STORE: Final = "tests/contracts/test_event_store.py"
_VERIFIER: Final = "tests/attacks/test_verifier.py::test_a_bad_token_is_none"
_PIPELINE: Final = "tests/unit/test_pipeline.py"

ISOLATION: Final = (
    Trial("isolation", "A scope is made by its two mints alone", "core/tenant.py",
          "if mint is not _MINT:", "if mint is None:",
          "tests/unit/test_scope.py::test_nobody_makes_a_scope_past_its_mints"),
    Trial("isolation", "A token counts in its own tenant alone", "core/tenant.py",
          "if claims.tenant_id != tenant.id:", "if claims.tenant_id is None:",
          "tests/unit/test_scope.py::test_a_token_of_one_tenant_gives_no_scope_in_another"),
    Trial("isolation", "A suspended tenant's tokens open nothing", "core/tenant.py",
          "elif tenant.status is TenantStatus.SUSPENDED:", "elif False:",
          "tests/unit/test_scope.py::test_a_closed_tenant_gives_no_scope"),
    Trial("isolation", "A tenant that is being deleted is gone", "core/tenant.py",
          "if tenant.status is TenantStatus.DELETING:", "if False:",
          "tests/unit/test_scope.py::test_a_closed_tenant_gives_no_scope"),
    Trial("isolation", "The platform's administrator reads no events", "core/tenant.py",
          "permissions = frozenset({Permission.MANAGE, Permission.PLATFORM})", "permissions = frozenset(Permission)",
          "tests/unit/test_scope.py::test_the_platform_reads_and_writes_nothing_in_a_tenant"),
    Trial("isolation", "What looks like a tenant's id is none", "core/tenant.py",
          "if not TENANT_ID.fullmatch(tenant_id):", "if not TENANT_ID.match(tenant_id):",
          "tests/unit/test_scope.py::test_what_looks_like_a_tenants_id_is_none"),
    Trial("isolation", "The store filters every query by tenant", "core/adapters/store/queries.py",
          'found["tenant_id"] = tenant_id', 'found["tenant_id"] = {"$exists": True}',
          f"{_FIND}::test_ids_are_filtered_like_any_field[mongomock]"),
    Trial("isolation", "The store reads ids within the tenant", "core/adapters/store/events.py",
          'asked = {"_id": {"$in": list(chunk)}, "tenant_id": scope.tenant_id}',
          'asked = {"_id": {"$in": list(chunk)}}',
          f"{_STORE}::test_fetch_gives_the_tenants_own_and_no_others[mongomock]"),
    Trial("isolation", "An event of another tenant with the same id is a conflict", "core/adapters/store/inserts.py",
          'if held["tenant_id"] != row.tenant_id:', "if False:",
          f"{_STORE}::test_an_id_of_another_tenant_is_a_conflict_even_with_the_same_digests[mongomock]"),
    Trial("isolation", "An API key is read within its tenant", "core/adapters/store/keys.py",
          'found = await self._keys.find_one({"_id": key_id, "tenant_id": scope.tenant_id})',
          'found = await self._keys.find_one({"_id": key_id})',
          "tests/contracts/test_keys.py::test_another_tenants_key_is_not_there[mongomock]"),
    Trial("isolation", "A cursor is good for one tenant", "core/cursor.py",
          'return hmac.digest(tenant.secret, b"cursor\\0" + payload, "sha256")[:_MAC_BYTES]',
          'return hmac.digest(b"everybody", b"cursor\\0" + payload, "sha256")[:_MAC_BYTES]',
          "tests/attacks/test_fuzz.py::test_a_cursor_is_good_for_its_tenant_and_query_alone"),
    Trial("isolation", "A cursor is good for one query", "core/cursor.py",
          "if payload.fingerprint != page.fingerprint:", "if False:",
          "tests/attacks/test_fuzz.py::test_a_cursor_is_good_for_its_tenant_and_query_alone"),
    Trial("isolation", "A cursor's signature is checked", "core/cursor.py",
          "if not hmac.compare_digest(raw[:_MAC_BYTES], _mac(tenant, payload)):", "if False:",
          "tests/attacks/test_fuzz.py::test_a_changed_cursor_is_none"),
    Trial("isolation", "A place in a stream is good for one tenant", "core/streams/place.py",
          'hmac.digest(tenant.secret, b"stream\\0" + payload', 'hmac.digest(b"everybody", b"stream\\0" + payload',
          "tests/unit/test_streams.py::test_a_place_is_good_for_its_tenant_and_unchanged_alone"),
    Trial("isolation", "A link to an export is signed", "core/export/links.py",
          "if not hmac.compare_digest(mac, _mac(tenant, payload)) or link.tenant_id != tenant.id:",
          "if link.tenant_id != tenant.id:",
          "tests/unit/test_export_forms.py::test_a_link_that_was_changed_is_none"),
    Trial("isolation", "The same key of two tenants makes two ids", "core/ids.py",
          'hmac.digest(secret, b"event id\\0" + key.encode(), "sha256")',
          'hmac.digest(b"everybody", b"event id\\0" + key.encode(), "sha256")',
          "tests/unit/test_ids.py::test_the_id_of_a_key_depends_on_tenant_and_key"),
    Trial("isolation", "A viewer's filter narrows every query", "core/restriction.py",
          "narrowed = query.restricted_to(scope.restriction)", "narrowed = query",
          "tests/unit/test_restriction.py::test_a_viewers_query_is_narrowed_wherever_it_stands"),
    Trial("isolation", "An event beyond a viewer's filter is not there", "core/restriction.py",
          "return stored if stored is not None and allows(scope, stored) else None", "return stored",
          "tests/unit/test_restriction.py::test_a_viewer_gets_the_events_that_match"),
)  # fmt: skip

ATTACKS: Final = (
    Trial("attacks", "Critical headers that nobody understands are refused", "api/tokens.py",
          "if header.alg != ALGORITHM or header.crit is not None:", "if header.alg != ALGORITHM:",
          f"{_VERIFIER}[crit]"),
    Trial("attacks", "A token's kid is one of a fixed map", "api/tokens.py",
          "key = self._keys.get(header.kid)", "key = next(iter(self._keys.values()))", f"{_VERIFIER}[kid a path]"),
    Trial("attacks", "A token of another kind is refused", "api/tokens.py",
          "if header.typ is not None and header.typ.lower() not in _KINDS:", "if False:",
          f"{_VERIFIER}[typ of a logout token]"),
    Trial("attacks", "A token without an audience is refused", "api/tokens.py",
          "if audience not in (named if isinstance(named, list) else [named]):", "if False:",
          f"{_VERIFIER}[aud missing]"),
    Trial("attacks", "An expired token is refused", "api/tokens.py",
          "if claims.expires_at <= self._clock():", "if False:", f"{_VERIFIER}[expired]"),
    Trial("attacks", "A token is bounded before it is parsed", "api/tokens.py",
          "if len(token) > MAX_TOKEN_BYTES:", "if False:", f"{_VERIFIER}[just too long]"),
    Trial("attacks", "Unknown roles make no token", "api/tokens.py",
          "all(isinstance(r, str) and r in _ROLES for r in roles)", "all(isinstance(r, str) for r in roles)",
          f"{_VERIFIER}[roles unknown]"),
    Trial("attacks", "A revoked name ends what is under way", "api/auth.py",
          "if not snapshot.revoked.isdisjoint(claims.names):", "if False:",
          "tests/unit/test_auth.py::test_what_is_under_way_ends_with_any_of_the_tokens_names"),
    Trial("attacks", "A gzip bomb stops at the body's bound", "api/bodies.py",
          "out.write(member.decompress(rest, limit + 1 - out.tell()))", "out.write(member.decompress(rest))",
          "tests/attacks/test_unpacking.py::test_a_bomb_never_fills_memory[gzip, 64 MiB of zeros]"),
    Trial("attacks", "A zstd bomb stops at the body's bound", "api/bodies.py",
          "_ZSTD_READ: Final = 128", "_ZSTD_READ: Final = 1 << 20",
          "tests/attacks/test_unpacking.py::test_a_bomb_never_fills_memory[zstd, 256 MiB of zeros]"),
    Trial("attacks", "Members of a packed body are counted", "api/bodies.py",
          "if count > MAX_EVENTS:", "if False:",
          "tests/attacks/test_unpacking.py::test_a_bomb_never_fills_memory[gzip, in 20,000 members]"),
    Trial("attacks", "Raw line breaks of an event become spaces", "core/event.py",
          "_encoder.encode(event).translate(_LINE_BREAKS)", "_encoder.encode(event)",
          "tests/attacks/test_fuzz.py::test_a_line_break_is_never_in_an_events_bytes"),
    Trial("attacks", "No id breaks its line of a bulk request", "core/adapters/index/bulk.py",
          "if not _ID.fullmatch(document.id):", "if False:",
          "tests/unit/test_index_ladder.py::test_an_id_that_would_break_its_line"),
    Trial("attacks", "A cell that would be a formula is prefixed", "core/export/formats.py",
          "if text is not None and text.startswith(FORMULA_STARTS)", "if text is None",
          "tests/unit/test_export_forms.py::test_a_spreadsheet_reads_every_cell_and_sees_no_formula"),
    Trial("attacks", "A schema's references stay within it", "core/catalogue/schemas.py",
          'if not pointer.startswith("#/"):', "if False:",
          "tests/unit/test_event_catalogue.py::test_a_schema_that_is_not_taken"),
    Trial("attacks", "A page of another origin opens no stream", "api/routes/stream.py",
          'if not own and origin.rstrip("/").lower() not in allowed:', "if False:",
          "tests/attacks/test_lines.py::test_a_page_of_another_origin_opens_no_stream"),
    Trial("attacks", "A client's request id is plain", "api/middleware.py",
          "if request_id is None and _REQUEST_ID.fullmatch(text):", "if request_id is None and text:",
          "tests/attacks/test_lines.py::test_a_clients_request_id_is_plain_or_replaced"),
    Trial("attacks", "A line of the log is one line of JSON", "core/telemetry.py",
          "_without_secrets(json.dumps(line))", '_without_secrets("{message}".format(**line))',
          "tests/attacks/test_lines.py::test_no_text_forges_a_line_of_the_log"),
    Trial("attacks", "A secret that a tree looks for is not recorded", "core/audit.py",
          "return msgspec.Raw(_hidden(body))", "return msgspec.Raw(body)",
          "tests/unit/test_access_audit.py::test_no_secret_that_a_tree_looks_for_is_written"),
    Trial("attacks", "A client cannot say who it is by X-Forwarded-For", "api/client.py",
          "if peer is None or not self._trusted or not networks.holds(self._trusted, peer):", "if peer is None:",
          "tests/unit/test_client.py::test_the_client_is_who_trusted_proxies_say"),
)  # fmt: skip

FAULTS: Final = (
    Trial("faults", "A conflict is told from a retry", "core/adapters/store/inserts.py",
          'return bytes(held["hash"]) == row.hash or (content is not None and bytes(content) == row.content)',
          "return True",
          f"{_STORE}::test_the_content_of_a_retry_decides_and_the_first_stays[mongomock]"),
    Trial("faults", "The index takes what the store holds", "consumer/pipeline.py",
          "work.to_index[tenant_id, stored.placement].append(IndexDocument(stored.id, stored.body))", "pass",
          f"{_PIPELINE}::test_a_retry_by_key_is_indexed_as_it_was_stored_first"),
    Trial("faults", "Only the event at fault is parked", "consumer/pipeline.py",
          "            except Invalid as error:\n                if (kept",
          "            except KeyError as error:\n                if (kept",
          f"{_PIPELINE}::test_only_the_event_at_fault_is_parked"),
    Trial("faults", "Nothing is receipted before it is parked", "consumer/pipeline.py",
          "await self._parking.park(work.parked)", "pass",
          f"{_PIPELINE}::test_nothing_is_receipted_before_it_is_parked"),
    Trial("faults", "An index that stays down is left to the outbox", "consumer/pipeline.py",
          "if self.reach.failed(tenant_id, placement, error):", "if False:",
          f"{_PIPELINE}::test_an_index_that_stays_down_is_waited_for_then_left_to_the_outbox"),
    Trial("faults", "What failed is not acknowledged", "consumer/loop.py",
          "            if result is None:\n                done.append",
          "            if True:\n                done.append",
          "tests/unit/test_consumer_loop.py::test_what_is_done_is_acknowledged_and_what_failed_comes_back_later"),
    Trial("faults", "With the store down nothing is received", "consumer/loop.py",
          'if error.dependency == "store":', "if False:",
          "tests/unit/test_consumer_loop.py::test_with_the_store_down_nothing_more_is_received_until_it_answers"),
    Trial("faults", "One bad message takes no other back", "consumer/loop.py",
          "if len(leases) > 1:", "if False:",
          "tests/unit/test_consumer_loop.py::test_one_bad_message_does_not_take_the_others_back"),
    Trial("faults", "Delays are spread by chance", "consumer/outcome.py",
          "return full * (jitter or random).uniform(0.5, 1.0)", "return full",
          "tests/unit/test_consumer_loop.py::test_the_delay_doubles_to_a_minute_with_half_of_it_by_chance"),
    Trial("faults", "An envelope of unknown fate is sent again", "core/commit.py",
          "if isinstance(error, Unavailable) and not expired:", "if False:",
          "tests/unit/test_commit.py::test_an_envelope_that_may_not_have_arrived_is_sent_again_with_the_same_bytes"),
    Trial("faults", "A dependency that hangs is not called", "core/breaker.py",
          "self._silent >= THRESHOLD:", "self._silent >= 1_000_000:",
          "tests/unit/test_breaker.py::test_after_three_deadlines_in_a_row_no_call_is_made"),
    Trial("faults", "One call at a time probes", "core/breaker.py",
          "if self._state is BreakerState.PROBING or self._clock() < self._until:", "if self._clock() < self._until:",
          "tests/unit/test_breaker.py::test_one_call_at_a_time_probes"),
)  # fmt: skip

TRIALS: Final = (*ISOLATION, *ATTACKS, *FAULTS)
