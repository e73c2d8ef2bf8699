<?php

/**
 * Signs people in to webmail who signed in to their mailbox before, and keeps Roundcube to what Thurn allows.
 *
 * A one-time token (from the portal and bound to this browser, or from an operator's link) is exchanged at Thurn's guard
 * for a password that opens webmail's own doors only and lives as long as this session. Roundcube's own form signs nobody in.
 */
class thurn extends rcube_plugin
{
    public $noajax = false;

    private const OPENING = 120; // seconds in which the portal must have answered
    private const PATIENCE = 5; // seconds for an answer of the guard

    private $rc;
    private $ticket;  // what the guard gave for a token: the sign-in of this request
    private $leaving; // the password of the session that ends in this request

    public function init()
    {
        $this->rc = rcmail::get_instance();
        foreach (['startup', 'authenticate', 'user_create', 'login_after', 'login_failed', 'unauthenticated',
            'logout_after', 'identity_create', 'identity_update', 'settings_actions'] as $hook) {
            $this->add_hook($hook, [$this, $hook]);
        }
        if ($this->rc->output->type == 'html') {
            $this->include_stylesheet('thurn.css');
        }
        $this->register_action('plugin.thurn', [$this, 'to_portal']);
        $this->add_texts('localization/');
        $this->add_button([
            'type' => 'link', 'label' => 'thurn.portal', 'href' => $this->portal(), 'class' => 'button-thurn portal',
            'innerclass' => 'inner', 'id' => 'thurn-portal',
        ], 'taskbar');
    }

    // ------------------------------------------------------------ the session

    /** Exchange a token; end a session whose password was revoked. */
    public function startup($args)
    {
        $signed_in = !empty($_SESSION['user_id']);
        if (($_GET['_thurn'] ?? null) === 'open') {
            $this->leave_for($this->portal('/webmail?bind=' . hash('sha256', $this->new_number())));
        }
        $token = $this->token();
        if ($token !== null && !$this->rc->output->ajax_call) {
            [$status, $answer] = $this->ask('exchange', ['token' => $token, 'number' => $this->number()]);
            if ($status === 0) {
                $this->stop(503, 'Webmail cannot sign you in at the moment. Nothing is lost: try again in a minute.');
            }
            if ($status !== 200) {
                if ($signed_in) {
                    $this->leave_for('./?_task=mail'); // the same link once more, or the way back in history
                }
                $this->stop(403, 'This way into webmail has been used already, or its time is over. '
                    . 'Open webmail from your mailbox again.');
            }
            if ($signed_in) {
                $this->ask('end', ['secret' => $this->secret()]);
            }
            // Roundcube gives the session that follows a new number: one planted in this browser is worth nothing.
            $this->rc->kill_session();
            $this->ticket = $answer;
            return ['task' => 'login', 'action' => 'login'] + $args;
        }
        if ($args['task'] == 'login' && $args['action'] == 'login') {
            $args['action'] = ''; // nobody signs in here with a password
        }
        if ($signed_in && $args['task'] == 'logout') {
            $this->leaving = $this->secret();
        } elseif ($signed_in && $this->ask('alive', ['secret' => $this->secret()])[0] === 404) {
            $this->rc->kill_session();
            $_SESSION['user_id'] = null;
        }
        return $args;
    }

    /** The guard has said who it is; without its word nobody is let in. */
    public function authenticate($args)
    {
        if ($this->ticket === null) {
            return ['valid' => false, 'abort' => true, 'user' => '', 'pass' => ''] + $args;
        }
        // What Roundcube keeps of an earlier owner of this address (contacts, signature) is not this one's.
        $db = $this->rc->get_dbh();
        $db->query('DELETE FROM ' . $db->table_name('users', true) . ' WHERE username = ? AND created < ?',
            $this->ticket['address'], $this->ticket['created_at']);
        return ['user' => $this->ticket['address'], 'pass' => $this->ticket['secret'], 'valid' => true,
            'abort' => false, 'cookiecheck' => false, 'error' => null] + $args;
    }

    public function user_create($args)
    {
        if ($this->ticket !== null) {
            $args['user_name'] = $this->ticket['name'];
            $args['user_email'] = $this->ticket['address'];
        }
        return $args;
    }

    public function login_after($args)
    {
        $_SESSION['thurn_senders'] = array_column($this->ticket['senders'], 'address');
        $this->write_identities($this->ticket['senders']);
        return ['_task' => 'mail'];
    }

    /** The guard said yes and Dovecot did not: it is away, or the mailbox was disabled just now. */
    public function login_failed($args)
    {
        if ($this->ticket !== null) {
            $this->ask('end', ['secret' => $this->ticket['secret']]);
            $this->stop(503, 'Your mailbox does not answer at the moment. Nothing is lost: try again in a minute.');
        }
        return $args;
    }

    /** Instead of Roundcube's form: the front door. */
    public function unauthenticated($args)
    {
        $this->leave_for($this->portal());
    }

    /** Who leaves webmail leaves the portal that it was opened from, too: the next at this computer is another. */
    public function logout_after($args)
    {
        if ($this->leaving) {
            $this->ask('sign-out', ['secret' => $this->leaving]);
        }
        $this->leave_for($this->portal('/sign-in'));
    }

    // ------------------------------------------------------------ what one may write as

    /** Identities are the addresses this mailbox may send as: those of others go, new ones come. */
    private function write_identities($senders)
    {
        $user = $this->rc->user;
        $here = [];
        foreach ($user->list_identities() as $identity) {
            $here[strtolower($identity['email'])][] = $identity['identity_id'];
        }
        foreach ($senders as $number => $sender) {
            if (empty($here[strtolower($sender['address'])])) {
                $user->insert_identity([
                    'name' => $sender['name'], 'email' => $sender['address'], 'standard' => $number == 0 ? 1 : 0,
                ]);
            }
            unset($here[strtolower($sender['address'])]);
        }
        foreach ($here as $identities) {
            array_map([$user, 'delete_identity'], $identities);
        }
    }

    public function identity_create($args)
    {
        return $this->checked($args);
    }

    public function identity_update($args)
    {
        return $this->checked($args);
    }

    private function checked($args)
    {
        $allowed = array_map('strtolower', $_SESSION['thurn_senders'] ?? []);
        $email = $args['record']['email'] ?? null;
        if ($email !== null && !in_array(strtolower($email), $allowed, true)) {
            $args['abort'] = true;
            $args['result'] = false;
            $args['message'] = 'thurn.notyours';
        }
        return $args;
    }

    // ------------------------------------------------------------ settings

    public function settings_actions($args)
    {
        $args['actions'][] = [
            'action' => 'plugin.thurn', 'class' => 'password', 'label' => 'security', 'title' => 'securitytitle',
            'domain' => 'thurn',
        ];
        return $args;
    }

    public function to_portal()
    {
        $this->leave_for($this->portal('/security'));
    }

    // ------------------------------------------------------------ small things

    /** A page of the portal: another origin. */
    private function portal($path = '')
    {
        return $this->rc->config->get('thurn_portal') . '/mailbox' . $path;
    }

    /** The token this browser came with. */
    private function token()
    {
        $token = $_GET['_thurn'] ?? null;
        return is_string($token) && preg_match('/^[A-Za-z0-9_-]{43}$/D', $token) ? $token : null;
    }

    /** A number that only this browser and we know: a token of the portal is good beside it alone. */
    private function new_number()
    {
        $number = rtrim(strtr(base64_encode(random_bytes(32)), '+/', '-_'), '=');
        $this->keep_number($number, time() + self::OPENING);
        return $number;
    }

    /** The number this browser was given, which is taken from it at once; empty if there is none. */
    private function number()
    {
        $number = $_COOKIE[$this->number_cookie()] ?? '';
        if ($number !== '') {
            $this->keep_number('', 1);
        }
        return is_string($number) ? $number : '';
    }

    private function keep_number($number, $expires)
    {
        setcookie($this->number_cookie(), $number, ['expires' => $expires, 'path' => '/', 'httponly' => true,
            'samesite' => 'Lax', 'secure' => (bool) $this->rc->config->get('thurn_https')]);
    }

    private function number_cookie()
    {
        return ($this->rc->config->get('thurn_https') ? '__Host-' : '') . 'webmail-number';
    }

    /** The password of the session. */
    private function secret()
    {
        return (string) $this->rc->decrypt($_SESSION['password'] ?? '');
    }

    /** POST to the guard; [status, answer], status 0 when it does not answer. Plain sockets: PHP may open no URL. */
    private function ask($what, $data)
    {
        $port = (int) $this->rc->config->get('thurn_guard');
        $body = json_encode($data, JSON_INVALID_UTF8_SUBSTITUTE);
        $link = @stream_socket_client("tcp://127.0.0.1:$port", $errno, $error, self::PATIENCE);
        if (!$link) {
            return [0, null];
        }
        stream_set_timeout($link, self::PATIENCE);
        fwrite($link, "POST /webmail/$what HTTP/1.1\r\nHost: guard\r\nConnection: close\r\n"
            . 'Authorization: Bearer ' . $this->rc->config->get('thurn_secret') . "\r\n"
            . "Content-Type: application/json\r\nContent-Length: " . strlen($body) . "\r\n\r\n$body");
        $answer = stream_get_contents($link, 1024 * 1024);
        fclose($link);
        [$head, $text] = explode("\r\n\r\n", $answer . "\r\n\r\n", 2);
        return preg_match('#^HTTP/1\.[01] (\d{3})#', $head, $found)
            ? [(int) $found[1], json_decode(trim($text), true)] : [0, null];
    }

    private function leave_for($where)
    {
        header("Location: $where", true, 302);
        header('Cache-Control: no-store');
        exit;
    }

    /** A page of words, and the way back. */
    private function stop($status, $text)
    {
        http_response_code($status);
        header('Content-Type: text/html; charset=utf-8');
        header('Cache-Control: no-store');
        echo '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Webmail</title>'
            . '<meta name="viewport" content="width=device-width, initial-scale=1">'
            . '<meta name="color-scheme" content="light dark">'
            . '<link rel="stylesheet" href="plugins/thurn/notice.css"></head><body><main><h1>Webmail</h1><p>'
            . htmlspecialchars($text) . '</p><p><a href="' . htmlspecialchars($this->portal()) . '">Your mailbox</a></p></main></body></html>';
        exit;
    }
}
